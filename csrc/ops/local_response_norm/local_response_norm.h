// y[i, c] = x[i, c] / (k + alpha / size * sum_j x[i, j]^2)^beta over the `size` channels j from c - size / 2 on, those
// outside [0, c) being zero ("ImageNet classification with deep convolutional neural networks", 2012).
//
// x, y: `pixels` rows of c floats, ldx, ldy apart.
#pragma once
#include "base/kernel.h"

namespace pycnn {

struct LocalResponseNormParams {
  int64_t pixels = 1, c = 1, size = 5;
  int64_t ldx = 0, ldy = 0;
  double alpha = 1e-4, beta = 0.75, k = 1;
};

template <class Visit>
void visit_fields(LocalResponseNormParams& p, Visit&& field) {
  field("pixels", p.pixels), field("c", p.c), field("size", p.size), field("ldx", p.ldx), field("ldy", p.ldy);
  field("alpha", p.alpha), field("beta", p.beta), field("k", p.k);
}

using LocalResponseNormKernel = Kernel<LocalResponseNormParams>;
KernelList<LocalResponseNormParams> local_response_norm_kernels();

}  // namespace pycnn
