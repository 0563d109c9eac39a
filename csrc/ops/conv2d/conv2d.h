// 2-D convolution (cross-correlation, as torch.nn.functional.conv2d) with a fused epilogue:
//
//   y[n,oy,ox,k] = act(bias[k] + residual[n,oy,ox,k]
//                      + sum_{i,j,c} x[n, oy*sh - ph + i*dh, ox*sw - pw + j*dw, g*C + c] * w[k,i,j,c])
//
// and, for 1 x 1 windows without padding and groups, with a prologue that x passes on its way:
//
//   kNorm: clamp(x * scale[c] + shift[c]) by prologue_act, none, relu or relu6;   kGate: x * gate[n,c]
//
// C = c / groups, g = k / (K / groups); x is 0 outside the map. ph, pw pad the top and the left; what is padded at the
// bottom and the right follows from oh, ow. With a negative ph the first outputs are those of rows further down.
// x: NHWC with pixel stride ldx, or contiguous NCHW (x_nchw).
// y, residual: NHWC with pixel strides ldy, ldr: a slice of a wider buffer is a larger stride. y may be the residual's
// own memory, ldy being ldr: each element of it is read once, before y's is written there.
// exact: algorithms that re-associate products (Winograd) are refused.
// gate: rows of c, ldg apart.
//
// conv2d_means, of convolutions without a prologue, also writes means[n,oy,k], the mean of y over a row of outputs, where
// the gate would be; global_pool has the same bits from them (h = oh, w = 1, ldx = k) as from y.
// Weights come in torch's order [k][c/groups][kh][kw], contiguous, and are packed by the kernel; with kNorm scale [c] and
// shift [c] follow them.
#pragma once
#include "base/act.h"
#include "base/kernel.h"

namespace pycnn {

enum class Prologue : int64_t { kNone = 0, kNorm = 1, kGate = 2 };

struct Conv2dParams {
  int64_t n = 1, h = 1, w = 1, c = 1, k = 1, kh = 1, kw = 1, oh = 1, ow = 1;
  int64_t sh = 1, sw = 1, ph = 0, pw = 0, dh = 1, dw = 1, groups = 1;
  int64_t ldx = 0, ldr = 0, ldy = 0;
  int64_t x_nchw = 0;
  int64_t exact = 0;
  Prologue prologue = Prologue::kNone;
  Act prologue_act = Act::kNone;
  int64_t ldg = 0;
  Act act = Act::kNone;
  double act_param = 0;

  int64_t group_c() const { return c / groups; }
  int64_t group_k() const { return k / groups; }
  int64_t pixels() const { return n * oh * ow; }
};

// Whether every output sees one pixel of its own, which a prologue may change.
inline bool sees_pixels(const Conv2dParams& p) {
  const bool inside = p.ph == 0 && p.pw == 0 && (p.oh - 1) * p.sh < p.h && (p.ow - 1) * p.sw < p.w;
  return inside && p.kh == 1 && p.kw == 1 && p.groups == 1;
}

inline const char* why_not_prologue(const Conv2dParams& p) {
  return p.prologue == Prologue::kNone ? nullptr : "has no prologue";
}

// Whether what is behind the norm of a prologue is a clamp.
inline bool clamps(const Conv2dParams& p) {
  return p.prologue_act == Act::kNone || p.prologue_act == Act::kRelu || p.prologue_act == Act::kRelu6;
}

template <class Visit>
void visit_fields(Conv2dParams& p, Visit&& field) {
  field("n", p.n), field("h", p.h), field("w", p.w), field("c", p.c), field("k", p.k);
  field("kh", p.kh), field("kw", p.kw), field("oh", p.oh), field("ow", p.ow);
  field("sh", p.sh), field("sw", p.sw), field("ph", p.ph), field("pw", p.pw);
  field("dh", p.dh), field("dw", p.dw), field("groups", p.groups);
  field("ldx", p.ldx), field("ldr", p.ldr), field("ldy", p.ldy), field("x_nchw", p.x_nchw);
  field("exact", p.exact), field("prologue", p.prologue), field("prologue_act", p.prologue_act), field("ldg", p.ldg);
  field("act", p.act), field("act_param", p.act_param);
}

using Conv2dKernel = Kernel<Conv2dParams>;
KernelList<Conv2dParams> conv2d_kernels();
KernelList<Conv2dParams> conv2d_means_kernels();

}  // namespace pycnn
