// conv2d_pool on CUDA: the pixels between a convolution of an image's few channels and its pooling stay in shared memory.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/conv2d/pool.h"

namespace pycnn::cuda {

KernelList<ConvPoolParams> conv2d_pool();

}  // namespace pycnn::cuda
