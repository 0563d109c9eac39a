// The CUDA kernels of local_response_norm, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/local_response_norm/local_response_norm.h"

namespace pycnn::cuda {

KernelList<LocalResponseNormParams> local_response_norm_rows();

}  // namespace pycnn::cuda
