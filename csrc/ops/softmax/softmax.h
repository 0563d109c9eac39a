// Softmax of `pixels` rows of c floats: y[i, c] = exp(x[i, c] - max_i) / sum_c exp(x[i, c] - max_i).
//
// x, y: rows ldx, ldy apart. A row that holds a NaN or +infinity, or nothing but -infinity, becomes NaN.
#pragma once
#include "base/kernel.h"

namespace pycnn {

struct SoftmaxParams {
  int64_t pixels = 1, c = 1;
  int64_t ldx = 0, ldy = 0;
};

template <class Visit>
void visit_fields(SoftmaxParams& p, Visit&& field) {
  field("pixels", p.pixels), field("c", p.c), field("ldx", p.ldx), field("ldy", p.ldy);
}

using SoftmaxKernel = Kernel<SoftmaxParams>;
KernelList<SoftmaxParams> softmax_kernels();

}  // namespace pycnn
