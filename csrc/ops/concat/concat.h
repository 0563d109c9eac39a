// Copies one source of a channel concatenation into its slice of the joined map: y[i, c] = x[i, c] over `pixels` rows of
// c floats. The caller points y at the slice's first channel.
//
// x, y: rows ldx, ldy apart; what lies between two rows of y is not touched.
#pragma once
#include "base/kernel.h"

namespace pycnn {

struct ConcatParams {
  int64_t pixels = 1, c = 1;
  int64_t ldx = 0, ldy = 0;
};

template <class Visit>
void visit_fields(ConcatParams& p, Visit&& field) {
  field("pixels", p.pixels), field("c", p.c), field("ldx", p.ldx), field("ldy", p.ldy);
}

using ConcatKernel = Kernel<ConcatParams>;
KernelList<ConcatParams> concat_kernels();

}  // namespace pycnn
