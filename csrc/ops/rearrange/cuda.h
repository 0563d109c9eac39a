// The CUDA kernels of rearrange, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/rearrange/rearrange.h"

namespace pycnn::cuda {

KernelList<RearrangeParams> rearrange_strided();

}  // namespace pycnn::cuda
