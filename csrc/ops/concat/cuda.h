// The CUDA kernels of concat, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/concat/concat.h"

namespace pycnn::cuda {

KernelList<ConcatParams> concat_pieces();

}  // namespace pycnn::cuda
