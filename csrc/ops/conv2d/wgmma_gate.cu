#include "ops/conv2d/cuda.h"
#include "ops/conv2d/wgmma_launch.h"

namespace pycnn::cuda {

PYCNN_CONV2D_WGMMA_PROLOGUE(gate, bf16, Bf16, Prologue::kGate)
PYCNN_CONV2D_WGMMA_PROLOGUE(gate, f16, F16, Prologue::kGate)

}  // namespace pycnn::cuda
