// Fully connected layer: y[i, k] = act(bias[k] + residual[i, k] + sum_c x[i, c] * w[k, c]).
//
// x: rows of c floats, ldx apart; y, residual: rows of k floats, ldy and ldr apart. w: torch's [k][c], contiguous.
// y may be the residual's own memory, ldy being ldr.
#pragma once
#include "base/act.h"
#include "base/kernel.h"

namespace pycnn {

struct LinearParams {
  int64_t m = 1, c = 1, k = 1;  // rows, inputs, outputs
  int64_t ldx = 0, ldr = 0, ldy = 0;
  Act act = Act::kNone;
  double act_param = 0;
};

template <class Visit>
void visit_fields(LinearParams& p, Visit&& field) {
  field("m", p.m), field("c", p.c), field("k", p.k);
  field("ldx", p.ldx), field("ldr", p.ldr), field("ldy", p.ldy);
  field("act", p.act), field("act_param", p.act_param);
}

using LinearKernel = Kernel<LinearParams>;
KernelList<LinearParams> linear_kernels();

}  // namespace pycnn
