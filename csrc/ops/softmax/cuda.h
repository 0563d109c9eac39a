// The CUDA kernels of softmax, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/softmax/softmax.h"

namespace pycnn::cuda {

KernelList<SoftmaxParams> softmax_rows();

}  // namespace pycnn::cuda
