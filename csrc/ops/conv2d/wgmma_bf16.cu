#include "ops/conv2d/cuda.h"
#include "ops/conv2d/wgmma_launch.h"

namespace pycnn::cuda {

PYCNN_CONV2D_WGMMA(bf16, Bf16)

}  // namespace pycnn::cuda
