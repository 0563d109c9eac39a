// Transposition of small blocks, from rows that are `ld` elements apart to rows that are `ld` apart.
#pragma once
#include "base/simd/element.h"

namespace pycnn::PYCNN_ISA_NS {

// rows[a][b] <-> rows[b][a]: log2(kLanes) rounds, each of which swaps the off-diagonal blocks of `step` x `step`.
PYCNN_INLINE void transpose_square(Vec (&rows)[kLanes]) {
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
    IVec low, high;
#pragma GCC unroll 16
    for (int lane = 0; lane < kLanes; ++lane) {
      low[lane] = (lane & step) == 0 ? lane : lane - step + kLanes;
      high[lane] = (lane & step) == 0 ? lane + step : lane + kLanes;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if ((i & step) != 0) continue;
      const Vec a = rows[i], b = rows[i + step];
      rows[i] = __builtin_shuffle(a, b, low);
      rows[i + step] = __builtin_shuffle(a, b, high);
    }
  }
}

// to[a * ld_to + b] = from[b * ld_from + a] for a < rows, b < columns. Bits are kept, and nothing need be aligned: pairs
// of bf16 may go as floats.
template <class E>
static inline void transpose(const E* from, int64_t ld_from, E* to, int64_t ld_to, int64_t rows, int64_t columns) {
  for (int64_t a0 = 0; a0 < rows; a0 += kLanes)
    for (int64_t b0 = 0; b0 < columns; b0 += kLanes) {
      if (a0 + kLanes <= rows && b0 + kLanes <= columns) {
        Vec block[kLanes];
#pragma GCC unroll 16
        for (int b = 0; b < kLanes; ++b) block[b] = load(from + (b0 + b) * ld_from + a0);
        transpose_square(block);
#pragma GCC unroll 16
        for (int a = 0; a < kLanes; ++a) store(to + (a0 + a) * ld_to + b0, block[a]);
        continue;
      }
      for (int64_t a = a0; a < rows && a < a0 + kLanes; ++a)
        for (int64_t b = b0; b < columns && b < b0 + kLanes; ++b)
          std::memcpy(to + a * ld_to + b, from + b * ld_from + a, sizeof(E));
    }
}

}  // namespace pycnn::PYCNN_ISA_NS
