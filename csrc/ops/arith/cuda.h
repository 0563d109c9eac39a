// The CUDA kernels of arith, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/arith/arith.h"

namespace pycnn::cuda {

KernelList<ArithParams> arith_pieces();

}  // namespace pycnn::cuda
