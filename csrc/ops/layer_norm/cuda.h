// The CUDA kernels of layer_norm, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/layer_norm/layer_norm.h"

namespace pycnn::cuda {

KernelList<LayerNormParams> layer_norm_rows();

}  // namespace pycnn::cuda
