// An inverted residual block in one CUDA kernel, whose wide maps never leave the SM:
//
//   hidden = act(b1 + w1 x)                          s channels of each pixel of x, a 1x1 convolution
//   middle = dw_act(b2 + hidden * w2)                depthwise, 3x3, stride 1 or 2; hidden is 0 outside the map
//   y = out_act(b3 + residual + w3 middle)           k channels, a 1x1 convolution
//
// hidden and middle are rounded to the type of elements, as maps would be. x, residual, y: NHWC with pixel strides ldx,
// ldr, ldy; ph, pw pad the top and the left. Weights come as w1 [s][c], b1 [s], w2 [s][3][3], b2 [s], w3 [k][s], b3 [k].
#pragma once
#include "base/act.h"

namespace pycnn {

struct InvertedResidualParams {
  int64_t n = 1, h = 1, w = 1, c = 1, s = 1, k = 1, oh = 1, ow = 1, stride = 1, ph = 1, pw = 1;
  int64_t ldx = 0, ldr = 0, ldy = 0;
  Act act = Act::kNone, dw_act = Act::kNone, out_act = Act::kNone;
  double act_param = 0, dw_param = 0, out_param = 0;
};

template <class Visit>
void visit_fields(InvertedResidualParams& p, Visit&& field) {
  field("n", p.n), field("h", p.h), field("w", p.w), field("c", p.c), field("s", p.s), field("k", p.k);
  field("oh", p.oh), field("ow", p.ow), field("stride", p.stride), field("ph", p.ph), field("pw", p.pw);
  field("ldx", p.ldx), field("ldr", p.ldr), field("ldy", p.ldy);
  field("act", p.act), field("dw_act", p.dw_act), field("out_act", p.out_act);
  field("act_param", p.act_param), field("dw_param", p.dw_param), field("out_param", p.out_param);
}

}  // namespace pycnn
