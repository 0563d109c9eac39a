// A few rows at a time, which stay in L1 between the passes: mean, squared differences, result. The order of the sums
// depends on c alone.
#include <cmath>

#include "base/simd/reduce.h"
#include "ops/layer_norm/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Each pass goes over so many rows before the next: a row's passes wait for its sums, those of different rows do not
// (56^2 x 96 on two threads of a Zen 5: 46 us became 36).
constexpr int64_t kRows = 4;

void write_row(const LayerNormParams& p, const Ptrs& ptrs, const Element* x, float mean, float scale, Element* y) {
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
  const Range mine = share(p.pixels, worker);
  const float count = static_cast<float>(p.c), eps = static_cast<float>(p.eps);
  for (int64_t first = mine.begin; first < mine.end; first += kRows) {
    const int64_t rows = mine.end - first < kRows ? mine.end - first : kRows;
    const Element* x = ptrs.x + first * p.ldx;
    float mean[kRows], scale[kRows];
    for (int64_t r = 0; r < rows; ++r) mean[r] = mean_row(x + r * p.ldx, p.c);
    for (int64_t r = 0; r < rows; ++r) {
      const float m = mean[r];
      const auto square = [m](Vec v) __attribute__((always_inline)) { return (v - m) * (v - m); };
      scale[r] = 1 / std::sqrt(sum_row(x + r * p.ldx, p.c, square) / count + eps);
    }
    for (int64_t r = 0; r < rows; ++r)
      write_row(p, ptrs, x + r * p.ldx, mean[r], scale[r], ptrs.y + (first + r) * p.ldy);
  }
}

const char* why_not(const LayerNormParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<LayerNormParams> layer_norm_rows{
    "layer_norm_rows_" PYCNN_KERNEL_SUFFIX, why_not, layer_norm_packed_size, layer_norm_pack,
    no_workspace<LayerNormParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
