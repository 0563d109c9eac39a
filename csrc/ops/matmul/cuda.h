// The CUDA kernels of matmul, one for each type of elements and tile.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/matmul/matmul.h"

namespace pycnn::cuda {

KernelList<MatMulParams> matmul_tiles();

}  // namespace pycnn::cuda
