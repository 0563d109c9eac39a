// The CUDA kernels of excitation, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/excitation/excitation.h"

namespace pycnn::cuda {

KernelList<ExcitationParams> excitation_layers();

}  // namespace pycnn::cuda
