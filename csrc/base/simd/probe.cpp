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

}  // namespace pycnn::PYCNN_ISA_NS
