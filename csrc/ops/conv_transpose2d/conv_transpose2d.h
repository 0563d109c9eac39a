// 2-D transposed convolution (as torch.nn.functional.conv_transpose2d) with a fused epilogue:
//
//   y[n,oy,ox,k] = act(bias[k] + sum_{i,j,c} x[n, (oy + ph - i*dh) / sh, (ox + pw - j*dw) / sw, g*C + c]
//                                            * w[g*C + c, k - g*K, i, j])
//
// over the taps whose divisions leave no rest and whose pixel is inside the map. C = c / groups, K = k / groups,
// g = k / K. What output_padding adds at the bottom and the right is in oh, ow.
// x, y: NHWC with pixel strides ldx, ldy. Weights come in torch's order [c][k/groups][kh][kw], contiguous, and are packed
// by the kernel; bias may be null.
#pragma once
#include "base/act.h"
#include "base/kernel.h"

namespace pycnn {

struct ConvTranspose2dParams {
  int64_t n = 1, h = 1, w = 1, c = 1, k = 1, kh = 1, kw = 1, oh = 1, ow = 1;
  int64_t sh = 1, sw = 1, ph = 0, pw = 0, dh = 1, dw = 1, groups = 1;
  int64_t ldx = 0, ldy = 0;
  Act act = Act::kNone;
  double act_param = 0;

  int64_t group_c() const { return c / groups; }
  int64_t group_k() const { return k / groups; }
};

template <class Visit>
void visit_fields(ConvTranspose2dParams& p, Visit&& field) {
  field("n", p.n), field("h", p.h), field("w", p.w), field("c", p.c), field("k", p.k);
  field("kh", p.kh), field("kw", p.kw), field("oh", p.oh), field("ow", p.ow);
  field("sh", p.sh), field("sw", p.sw), field("ph", p.ph), field("pw", p.pw);
  field("dh", p.dh), field("dw", p.dw), field("groups", p.groups);
  field("ldx", p.ldx), field("ldy", p.ldy);
  field("act", p.act), field("act_param", p.act_param);
}

using ConvTranspose2dKernel = Kernel<ConvTranspose2dParams>;
KernelList<ConvTranspose2dParams> conv_transpose2d_kernels();

}  // namespace pycnn
