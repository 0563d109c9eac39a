// Scaled dot-product attention, each head by itself: y = softmax(scale * q k^T) v.
//
// q: l rows an image, k and v: s rows an image, y: l rows an image, ldq, ldk, ldv, ldy apart; head j is d elements of a
// row of q and k from j * d on, and dv of a row of v and y from j * dv on.
// Ptrs: x = q, residual = k, w = v (a value of the plan, not packed weights).
#pragma once
#include "base/kernel.h"

namespace pycnn {

struct AttentionParams {
  int64_t n = 1, heads = 1, l = 1, s = 1, d = 1, dv = 1;
  int64_t ldq = 0, ldk = 0, ldv = 0, ldy = 0;
  double scale = 1;
};

template <class Visit>
void visit_fields(AttentionParams& p, Visit&& field) {
  field("n", p.n), field("heads", p.heads), field("l", p.l), field("s", p.s), field("d", p.d), field("dv", p.dv);
  field("ldq", p.ldq), field("ldk", p.ldk), field("ldv", p.ldv), field("ldy", p.ldy), field("scale", p.scale);
}

using AttentionKernel = Kernel<AttentionParams>;
KernelList<AttentionParams> attention_kernels();

}  // namespace pycnn
