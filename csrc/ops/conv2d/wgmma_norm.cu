#include "ops/conv2d/cuda.h"
#include "ops/conv2d/wgmma_launch.h"

namespace pycnn::cuda {

PYCNN_CONV2D_WGMMA_PROLOGUE(norm, bf16, Bf16, Prologue::kNorm)
PYCNN_CONV2D_WGMMA_PROLOGUE(norm, f16, F16, Prologue::kNorm)

}  // namespace pycnn::cuda
