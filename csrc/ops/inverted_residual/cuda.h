// The CUDA kernels of inverted_residual, for elements of 16 bits.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/inverted_residual/inverted_residual.h"

namespace pycnn::cuda {

KernelList<InvertedResidualParams> inverted_residual_tiles();

}  // namespace pycnn::cuda
