// The CUDA kernels of conv2d, one list for each kind of arithmetic.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::cuda {

KernelList<Conv2dParams> conv2d_bf16();
KernelList<Conv2dParams> conv2d_f16();
KernelList<Conv2dParams> conv2d_tf32();
KernelList<Conv2dParams> conv2d_f32();

}  // namespace pycnn::cuda
