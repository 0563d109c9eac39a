// The CUDA kernels of pool2d, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/pool2d/pool2d.h"

namespace pycnn::cuda {

KernelList<Pool2dParams> pool2d_window();

}  // namespace pycnn::cuda
