// The CUDA kernels of conv_transpose2d, for each kind of arithmetic.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/conv_transpose2d/conv_transpose2d.h"

namespace pycnn::cuda {

KernelList<ConvTranspose2dParams> conv_transpose2d_phases();

}  // namespace pycnn::cuda
