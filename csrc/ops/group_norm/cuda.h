// The CUDA kernels of group_norm, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/group_norm/group_norm.h"

namespace pycnn::cuda {

KernelList<GroupNormParams> group_norm_maps();

}  // namespace pycnn::cuda
