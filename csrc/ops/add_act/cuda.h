// The CUDA kernels of add_act, one for each type of elements.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/add_act/add_act.h"

namespace pycnn::cuda {

KernelList<AddActParams> add_act_pieces();

}  // namespace pycnn::cuda
