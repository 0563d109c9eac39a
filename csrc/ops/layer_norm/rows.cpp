// One row at a time, which stays in L1 between its three passes: sum, squared differences, result. The order of the sums
// depends on c alone.
#include <cmath>

#include "base/simd/gemm.h"
#include "base/simd/vec.h"
#include "ops/layer_norm/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Sum over a row of f(x): four sums of vectors, then the lanes, then what is left of the row.
template <class F>
PYCNN_INLINE float sum_row(const float* x, int64_t n, F f) {
  Vec sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) sums[v] += f(load(x + i + v * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += f(load(x + i));
  Vec all = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  int64_t lanes = kLanes;
  float sum = 0;
  for (int64_t lane = 0; lane < lanes; ++lane) sum += all[lane];
  if (i == n) return sum;
  all = f(load_first(x + i, n - i));
  for (int64_t lane = 0; lane < n - i; ++lane) sum += all[lane];
  return sum;
}

void row(const LayerNormParams& p, const Ptrs& ptrs, const float* x, float* y) {
  const float count = static_cast<float>(p.c);
  const float mean = sum_row(x, p.c, [](Vec v) __attribute__((always_inline)) { return v; }) / count;
  const float var = sum_row(x, p.c, [mean](Vec v) __attribute__((always_inline)) { return (v - mean) * (v - mean); });
  const float scale = 1 / std::sqrt(var / count + static_cast<float>(p.eps));
  const float *w = ptrs.w, *bias = ptrs.bias;
  int64_t i = 0;
  for (; i + kLanes <= p.c; i += kLanes) {
    Vec v = (load(x + i) - mean) * scale;
    if (w) v *= load(w + i);
    if (bias) v += load(bias + i);
    store(y + i, v);
  }
  const int64_t rest = p.c - i;
  if (rest == 0) return;
  Vec v = (load_first(x + i, rest) - mean) * scale;
  if (w) v *= load_first(w + i, rest);
  if (bias) v += load_first(bias + i, rest);
  store_first(y + i, v, rest);
}

void run(const LayerNormParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) row(p, ptrs, ptrs.x + i * p.ldx, ptrs.y + i * p.ldy);
}

const char* why_not(const LayerNormParams&, const Machine& m) { return why_not_isa(kIsa, m); }

}  // namespace

extern const LayerNormKernel layer_norm_rows{
    "layer_norm_rows_f32_" PYCNN_ISA_SUFFIX, why_not, layer_norm_packed_size, layer_norm_pack,
    no_workspace<LayerNormParams>,           run};

}  // namespace pycnn::PYCNN_ISA_NS
