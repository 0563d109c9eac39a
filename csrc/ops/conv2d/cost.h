// Predicted time of the dense kernels, in vector multiply-adds of one worker: kernels of one table are compared, no more.
#pragma once
#include "base/simd/element.h"

namespace pycnn::PYCNN_ISA_NS {

// Floats of weights that come from memory in the time of one vector multiply-add of a worker: 22.7 GB/s beside 3.7 G
// multiply-adds a second (Zen 4, 2 cores). On a Zen 5 where F(2,3) and direct take equally long, 7^2 x 192 -> 384.
PYCNN_INLINE double weight_floats() { return (whole_vectors() ? 0.074 : 0.096) * kLanes; }

// Whether kernels of longer vectors run instead: their costs are in other units, and they are always the faster ones.
PYCNN_INLINE bool outdone() {
  return machine().isa > kIsa && (sizeof(Element) == sizeof(float) || machine().bf16_products);
}

// Arithmetic and the stream of weights overlap. multiplies: those of the busiest worker; weights: floats, read once.
PYCNN_INLINE double predicted(double multiplies, double weights) {
  if (outdone()) return __builtin_inf();
  const double stream = weights / weight_floats();
  return multiplies > stream ? multiplies : stream;
}

}  // namespace pycnn::PYCNN_ISA_NS
