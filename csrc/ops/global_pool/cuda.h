// The CUDA kernels of global_pool, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/global_pool/global_pool.h"

namespace pycnn::cuda {

KernelList<GlobalPoolParams> global_pool_mean();

}  // namespace pycnn::cuda
