// The CUDA kernels of elementwise, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/elementwise/elementwise.h"

namespace pycnn::cuda {

KernelList<ElementwiseParams> elementwise_pieces();

}  // namespace pycnn::cuda
