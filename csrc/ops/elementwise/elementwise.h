// An activation on its own: y[i, c] = act(x[i, c]) over `pixels` rows of c floats.
//
// x, y: rows ldx, ldy apart; y may be x's own memory, ldy being ldx.
#pragma once
#include "base/act.h"
#include "base/kernel.h"

namespace pycnn {

struct ElementwiseParams {
  int64_t pixels = 1, c = 1;
  int64_t ldx = 0, ldy = 0;
  Act act = Act::kNone;
  double act_param = 0;
};

template <class Visit>
void visit_fields(ElementwiseParams& p, Visit&& field) {
  field("pixels", p.pixels), field("c", p.c), field("ldx", p.ldx), field("ldy", p.ldy);
  field("act", p.act), field("act_param", p.act_param);
}

using ElementwiseKernel = Kernel<ElementwiseParams>;
KernelList<ElementwiseParams> elementwise_kernels();

}  // namespace pycnn
