// Predicted time of the dense kernels, in vector multiply-adds of one worker: kernels of one table are compared, no more.
#pragma once
#include "base/simd/vec.h"

namespace pycnn::PYCNN_ISA_NS {

// Floats of weights that come from memory in the time of one vector multiply-add: 22.7 GB/s beside 2 cores at 59 G
// multiply-adds a second each (Zen 4, 2 cores).
static constexpr double kWeightFloats = 0.096 * kLanes;

// Arithmetic and the stream of weights overlap. multiplies: those of the busiest worker; weights: floats, read once.
PYCNN_INLINE double predicted(double multiplies, double weights) {
  const double stream = weights / kWeightFloats;
  return multiplies > stream ? multiplies : stream;
}

}  // namespace pycnn::PYCNN_ISA_NS
