// The gate of squeeze-and-excitation, a factor for each channel of an image, in one CUDA kernel:
//
//   hidden[j] = act(b1[j] + sum_c w1[j,c] * mean[n,c]);   y[n,c] = gate_act(b2[c] + sum_j w2[c,j] * hidden[j])
//
// s: hidden channels. parts 0: x holds the means, rows of c elements ldx apart. Else x is a map's memory, and the means
// are those of its `pixels` pixels an image, whose sums conv2d_sums left there: fp32 [n][parts][c], `sums` elements on.
// Weights come as w1 [s][c], b1 [s], w2 [c][s], b2 [c]. y: rows ldy apart.
#pragma once
#include "base/act.h"

namespace pycnn {

struct ExcitationParams {
  int64_t n = 1, c = 1, s = 1;
  int64_t ldx = 0, ldy = 0;
  int64_t parts = 0, sums = 0, pixels = 1;
  Act act = Act::kNone, gate_act = Act::kNone;
  double act_param = 0, gate_param = 0;
};

template <class Visit>
void visit_fields(ExcitationParams& p, Visit&& field) {
  field("n", p.n), field("c", p.c), field("s", p.s), field("ldx", p.ldx), field("ldy", p.ldy);
  field("parts", p.parts), field("sums", p.sums), field("pixels", p.pixels);
  field("act", p.act), field("gate_act", p.gate_act);
  field("act_param", p.act_param), field("gate_param", p.gate_param);
}

}  // namespace pycnn
