// The CUDA kernels of upsample, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/upsample/upsample.h"

namespace pycnn::cuda {

KernelList<UpsampleParams> upsample_pieces();

}  // namespace pycnn::cuda
