#include "base/simd/probe.h"

#include "base/simd/vec.h"

namespace pycnn::PYCNN_ISA_NS {

// Independent multiply-adds in registers, enough of them to hide the latency (4 cycles, two a cycle); returns the
// floating-point operations done.
int64_t fma_probe(int64_t rounds) {
  constexpr int kSums = 12;
  Vec sum[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sum[i] = broadcast(0.001f * static_cast<float>(i));
  const Vec a = broadcast(0.999f), b = broadcast(0.001f);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sum[i] = sum[i] * a + b;
    // Keeps the sums live in registers without spilling any.
    asm volatile("" : "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "+x"(sum[3]), "+x"(sum[4]), "+x"(sum[5]));
    asm volatile("" : "+x"(sum[6]), "+x"(sum[7]), "+x"(sum[8]), "+x"(sum[9]), "+x"(sum[10]), "+x"(sum[11]));
  }
  return rounds * kSums * kLanes * 2;
}

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
