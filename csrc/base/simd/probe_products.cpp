#include "base/simd/element.h"
#include "base/simd/probe.h"

namespace pycnn::PYCNN_ISA_NS {

// Independent products in registers, as a tile of a GEMM has them, and enough to hide the latency (4 cycles, two a cycle);
// returns the floating-point operations done.
int64_t product_probe(int64_t rounds) {
  using P = Products<Element>;
  constexpr int kSums = 12;
  Vec sum[kSums];
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sum[i] = broadcast(0.001f * static_cast<float>(i));
  const Element zeros[kLanes * P::kStep] = {};
  P::Factor a = P::factors(zeros), b = P::factors(zeros);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sum[i] = P::multiply_add(sum[i], a, b);
    // Keeps all in registers: sums live without spilling any, factors unknown so that no product is moved out.
    asm volatile("" : "+x"(sum[0]), "+x"(sum[1]), "+x"(sum[2]), "+x"(sum[3]), "+x"(sum[4]), "+x"(sum[5]));
    asm volatile("" : "+x"(sum[6]), "+x"(sum[7]), "+x"(sum[8]), "+x"(sum[9]), "+x"(sum[10]), "+x"(sum[11]));
    asm volatile("" : "+x"(a), "+x"(b));
  }
  return rounds * kSums * kLanes * P::kStep * 2;
}

}  // namespace pycnn::PYCNN_ISA_NS
