#include "ops/conv2d/cuda.h"
#include "ops/conv2d/cuda_launch.h"

namespace pycnn::cuda {

PYCNN_CONV2D_CUDA(f16, Math::kF16, 64)

}  // namespace pycnn::cuda
