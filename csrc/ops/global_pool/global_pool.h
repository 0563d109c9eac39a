// Mean of a map over its pixels: y[n, c] = (sum over pixels of x[n, pixel, c]) / pixels.
//
// x: NHWC with pixel stride ldx, pixels = h * w; y: one row of c floats an image, ldy apart (a 1x1 map).
// Row by row: the mean of the means of its rows. The order depends on neither the batch nor the number of workers.
#pragma once
#include "base/kernel.h"

namespace pycnn {

struct GlobalPoolParams {
  int64_t n = 1, h = 1, w = 1, c = 1;
  int64_t ldx = 0, ldy = 0;

  int64_t pixels() const { return h * w; }
};

template <class Visit>
void visit_fields(GlobalPoolParams& p, Visit&& field) {
  field("n", p.n), field("h", p.h), field("w", p.w), field("c", p.c), field("ldx", p.ldx), field("ldy", p.ldy);
}

using GlobalPoolKernel = Kernel<GlobalPoolParams>;
KernelList<GlobalPoolParams> global_pool_kernels();

}  // namespace pycnn
