#include "ops/conv2d/cuda.h"
#include "ops/conv2d/cuda_launch.h"

namespace pycnn::cuda {

PYCNN_CONV2D_CUDA(f32, Math::kF32, 32)

}  // namespace pycnn::cuda
