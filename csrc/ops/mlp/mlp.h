// Two 1x1 convolutions, one behind the other, in one CUDA kernel; the map between them never leaves the SM:
//
//   hidden[i,j] = act(b1[j] + sum_c w1[j,c] * x[i,c])
//   y[i,k] = out_act(b2[k] + residual[i,k] + sum_j w2[k,j] * hidden[i,j])
//
// i: one of n images' pixels; s: hidden channels, which are rounded to the type of elements, as a map would be.
// x, residual, y: rows of c, k and k elements, ldx, ldr, ldy apart. Weights come as w1 [s][c], b1 [s], w2 [k][s], b2 [k].
#pragma once
#include "base/act.h"

namespace pycnn {

struct MlpParams {
  int64_t n = 1, pixels = 1, c = 1, s = 1, k = 1;  // pixels: of an image
  int64_t ldx = 0, ldr = 0, ldy = 0;
  Act act = Act::kNone, out_act = Act::kNone;
  double act_param = 0, out_param = 0;

  int64_t rows() const { return n * pixels; }
};

template <class Visit>
void visit_fields(MlpParams& p, Visit&& field) {
  field("n", p.n), field("pixels", p.pixels), field("c", p.c), field("s", p.s), field("k", p.k);
  field("ldx", p.ldx), field("ldr", p.ldr), field("ldy", p.ldy);
  field("act", p.act), field("out_act", p.out_act);
  field("act_param", p.act_param), field("out_param", p.out_param);
}

}  // namespace pycnn
