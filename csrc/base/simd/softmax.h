// The exponentials of a row about its largest entry.
#pragma once
#include "base/simd/activate.h"
#include "base/simd/reduce.h"

namespace pycnn::PYCNN_ISA_NS {

// Largest of scale * x over a row of n > 0; NaN if any is.
template <class E>
PYCNN_INLINE float largest(const E* x, int64_t n, float scale) {
  Vec most[4];
  for (Vec& m : most) m = broadcast(-__builtin_inff());
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) most[v] = max_nan(most[v], load(x + i + v * kLanes) * scale);
  }
  for (; i + kLanes <= n; i += kLanes) most[0] = max_nan(most[0], load(x + i) * scale);
  const Vec all = max_nan(max_nan(most[0], most[1]), max_nan(most[2], most[3]));
  float found = all[0];
  const auto take = [&found](float f) __attribute__((always_inline)) { found = f > found || f != f ? f : found; };
  for (int64_t lane = 1; lane < kLanes; ++lane)
    if (found == found) take(all[lane]);
  for (; i < n; ++i)
    if (found == found) take(value_of(x[i]) * scale);
  return found;
}

// e^x, x <= 0: 0 itself where exp() would be flushed.
PYCNN_INLINE Vec exp_or_zero(Vec x) { return x < broadcast(-87.3f) ? Vec{} : exp(x); }

// y = exp(scale * x - most) over a row; returns their sum. y may be x.
template <class E>
PYCNN_INLINE float exponentials(const E* x, float* y, int64_t n, float scale, float most) {
  Vec sums[2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      const Vec e = exp_or_zero(load(x + i + v * kLanes) * scale - most);
      store(y + i + v * kLanes, e);
      sums[v] += e;
    }
  }
  for (; i + kLanes <= n; i += kLanes) {
    const Vec e = exp_or_zero(load(x + i) * scale - most);
    store(y + i, e);
    sums[0] += e;
  }
  const float sum = sum_lanes(sums[0] + sums[1]);
  if (i == n) return sum;
  const Vec e = exp_or_zero(load_first(x + i, n - i) * scale - most);
  store_first(y + i, e, n - i);
  return sum + sum_lanes(e, n - i);
}

// y = factor * x over a row. y may be x.
PYCNN_INLINE void scale_row(const float* x, Element* y, int64_t n, float factor) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i) * factor);
  if (i < n) store_first(y + i, load_first(x + i, n - i) * factor, n - i);
}

}  // namespace pycnn::PYCNN_ISA_NS
