// One row at a time, which stays in L1 between its passes: mean, squared differences, result. The order of the sums
// depends on c alone.
#include <cmath>

#include "base/simd/reduce.h"
#include "ops/layer_norm/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

void row(const LayerNormParams& p, const Ptrs& ptrs, const Element* x, Element* y) {
  const float count = static_cast<float>(p.c);
  const float mean = mean_row(x, p.c);
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

const char* why_not(const LayerNormParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<LayerNormParams> layer_norm_rows{
    "layer_norm_rows_" PYCNN_KERNEL_SUFFIX, why_not, layer_norm_packed_size, layer_norm_pack,
    no_workspace<LayerNormParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
