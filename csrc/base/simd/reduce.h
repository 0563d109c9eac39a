// Sums over rows, in an order that depends on the length alone.
#pragma once
#include "base/simd/element.h"

namespace pycnn::PYCNN_ISA_NS {

// Halves of the lanes, then halves of those: one lane after the other they were most of a layer norm of 96 channels
// (56^2 on two threads of a Zen 5: 57 us became 46).
template <int N>
PYCNN_INLINE float sum_halves(const float __attribute__((vector_size(N * 4))) & v) {
  if constexpr (N == 4) return (v[0] + v[1]) + (v[2] + v[3]);
  if constexpr (N > 4) {
    float __attribute__((vector_size(N * 2))) low, high;
    std::memcpy(&low, &v, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
    return sum_halves<N / 2>(low + high);
  }
}

PYCNN_INLINE float sum_lanes(Vec v) { return sum_halves<kLanes>(v); }

// Of the first lanes.
PYCNN_INLINE float sum_lanes(Vec v, int64_t lanes) {
  float sum = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) sum += v[lane];
  return sum;
}

// Sum over a row of f(x): four sums of vectors, then the lanes, then what is left of the row.
template <class F>
PYCNN_INLINE float sum_row(const Element* x, int64_t n, F f) {
  Vec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums[v] += f(load(x + i + v * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += f(load(x + i));
  const float sum = sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
  return i == n ? sum : sum + sum_lanes(f(load_first(x + i, n - i)), n - i);
}

// The mean of a row of n > 0. What the sum rounds is put right by a second one, of the differences: of a row of equal
// numbers it is that number, and 1 / sqrt(eps) has nothing to enlarge.
PYCNN_INLINE float mean_row(const Element* x, int64_t n) {
  const float count = static_cast<float>(n);
  const float mean = sum_row(x, n, [](Vec v) __attribute__((always_inline)) { return v; }) / count;
  return mean + sum_row(x, n, [mean](Vec v) __attribute__((always_inline)) { return v - mean; }) / count;
}

}  // namespace pycnn::PYCNN_ISA_NS
