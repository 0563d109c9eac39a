#include "base/simd/probe.h"

#include "base/simd/vec.h"

namespace pycnn::PYCNN_ISA_NS {

// Reads x[0, count) `passes` times; count is a multiple of 8 vectors of every set (128 floats).
void read_probe(const float* x, int64_t count, int64_t passes) {
  for (int64_t pass = 0; pass < passes; ++pass)
    for (int64_t i = 0; i < count; i += 8 * kLanes) {
#pragma GCC unroll 8
      for (int v = 0; v < 8; ++v) {
        const Vec loaded = load(x + i + v * kLanes);
        asm volatile("" : : "x"(loaded));  // the load stays, and nothing is done with it
      }
    }
}

// y[0, count) = x[0, count), `passes` times; count as above, y does not overlap x.
void copy_probe(const float* x, float* y, int64_t count, int64_t passes) {
  for (int64_t pass = 0; pass < passes; ++pass) {
    for (int64_t i = 0; i < count; i += 8 * kLanes) {
#pragma GCC unroll 8
      for (int v = 0; v < 8; ++v) store(y + i + v * kLanes, load(x + i + v * kLanes));
    }
    asm volatile("" : : : "memory");  // each pass stores again
  }
}

}  // namespace pycnn::PYCNN_ISA_NS
