#include "ops/conv2d/cuda.h"
#include "ops/conv2d/wgmma_launch.h"

namespace pycnn::cuda {

PYCNN_CONV2D_WGMMA(f16, F16)

}  // namespace pycnn::cuda
