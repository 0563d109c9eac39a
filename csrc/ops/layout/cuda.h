// The CUDA kernels of layout, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/layout/layout.h"

namespace pycnn::cuda {

KernelList<LayoutParams> layout_transpose();

}  // namespace pycnn::cuda
