// The CUDA kernels of mlp, for elements of 16 bits.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/mlp/mlp.h"

namespace pycnn::cuda {

KernelList<MlpParams> mlp_tiles();

}  // namespace pycnn::cuda
