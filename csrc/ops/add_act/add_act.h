// The end of a residual block: y[i, c] = act(x[i, c] + residual[i, c]) over `pixels` rows of c floats.
//
// x, residual, y: rows ldx, ldr, ldy apart; y may be the memory of x or of the residual, their strides being equal.
#pragma once
#include "base/act.h"
#include "base/kernel.h"

namespace pycnn {

struct AddActParams {
  int64_t pixels = 1, c = 1;
  int64_t ldx = 0, ldr = 0, ldy = 0;
  Act act = Act::kNone;
  double act_param = 0;
};

template <class Visit>
void visit_fields(AddActParams& p, Visit&& field) {
  field("pixels", p.pixels), field("c", p.c);
  field("ldx", p.ldx), field("ldr", p.ldr), field("ldy", p.ldy);
  field("act", p.act), field("act_param", p.act_param);
}

using AddActKernel = Kernel<AddActParams>;
KernelList<AddActParams> add_act_kernels();

}  // namespace pycnn
