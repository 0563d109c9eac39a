// Sums over the pixels of a row of a map, some vectors of channels at a time.
#pragma once
#include "base/simd/element.h"

namespace pycnn::PYCNN_ISA_NS {

// out[v] = (sum over i < count of get(i, v)) / count. Pixels i, i + kChains, .. have a sum each, and these are joined
// pairwise: the additions overlap, and their order depends on `count` alone. Of one pixel it is that pixel itself.
template <int NV, class Get>
PYCNN_INLINE void row_mean(int64_t count, const Get& get, Vec (&out)[NV]) {
  constexpr int kChains = 4;
  Vec sum[kChains][NV];
#pragma GCC unroll 4
  for (int i = 0; i < kChains; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sum[i][v] = Vec{};
  int64_t pixel = 0;
  for (; pixel + kChains <= count; pixel += kChains)
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sum[i][v] += get(pixel + i, v);
#pragma GCC unroll 3
  for (int i = 0; i < kChains - 1; ++i)
    if (pixel + i < count)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sum[i][v] += get(pixel + i, v);
  const Vec part = broadcast(1.0f / static_cast<float>(count));
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) {
    out[v] = ((sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v])) * part;
    pin(out[v]);  // the value as a store would round it
  }
}

}  // namespace pycnn::PYCNN_ISA_NS
