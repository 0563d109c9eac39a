// Layer norm of `pixels` rows of c floats: y[i, c] = (x[i, c] - mean_i) / sqrt(var_i + eps) * w[c] + bias[c], with the
// row's mean and its biased variance, taken in a second pass over the differences.
//
// x, y: rows ldx, ldy apart. w and bias may be null (1 and 0).
#pragma once
#include "base/kernel.h"

namespace pycnn {

struct LayerNormParams {
  int64_t pixels = 1, c = 1;
  int64_t ldx = 0, ldy = 0;
  double eps = 1e-5;
};

template <class Visit>
void visit_fields(LayerNormParams& p, Visit&& field) {
  field("pixels", p.pixels), field("c", p.c), field("ldx", p.ldx), field("ldy", p.ldy), field("eps", p.eps);
}

static inline int64_t layer_norm_packed_size(const LayerNormParams& p) { return p.c; }
static inline void layer_norm_pack(const LayerNormParams& p, const float* w, float* packed) {
  for (int64_t c = 0; c < p.c; ++c) packed[c] = w[c];
}

using LayerNormKernel = Kernel<LayerNormParams>;
KernelList<LayerNormParams> layer_norm_kernels();

}  // namespace pycnn
