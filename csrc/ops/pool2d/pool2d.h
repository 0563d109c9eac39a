// 2-D pooling with every option of torch.nn.functional's max, average and adaptive pooling:
//
//   y[n,oy,ox,c] = max over (i,j) of x[n, oy*sh - ph + i*dh, ox*sw - pw + j*dw, c]    0 <= i < kh, 0 <= j < kw
//   y[n,oy,ox,c] = (sum over (i,j) of the same) / divisor                             average: dh = dw = 1
//
// Positions outside the map are skipped: padding is -inf to the maximum and 0 to the sum. NaN in a window gives NaN.
// divisor: divisor_override if it is not 0; else, with count_include_pad, the part of the window inside the padded map
// (what ceil_mode lets hang over does not count); else the positions inside the map. A window with none averages to 0.
// Adaptive modes take their windows from the sizes, rows floor(oy*h/oh) up to ceil((oy+1)*h/oh), columns likewise, and
// use none of kh .. divisor_override.
//
// x, y: NHWC with pixel strides ldx, ldy.
#pragma once
#include "base/kernel.h"

namespace pycnn {

enum class PoolMode : int64_t { kMax = 0, kAvg = 1, kAdaptiveMax = 2, kAdaptiveAvg = 3 };

struct Pool2dParams {
  PoolMode mode = PoolMode::kMax;
  int64_t n = 1, h = 1, w = 1, c = 1, oh = 1, ow = 1;
  int64_t kh = 1, kw = 1, sh = 1, sw = 1, ph = 0, pw = 0, dh = 1, dw = 1;
  int64_t count_include_pad = 1, divisor_override = 0;
  int64_t ldx = 0, ldy = 0;

  bool max() const { return mode == PoolMode::kMax || mode == PoolMode::kAdaptiveMax; }
  bool adaptive() const { return mode == PoolMode::kAdaptiveMax || mode == PoolMode::kAdaptiveAvg; }
};

template <class Visit>
void visit_fields(Pool2dParams& p, Visit&& field) {
  field("mode", p.mode);
  field("n", p.n), field("h", p.h), field("w", p.w), field("c", p.c), field("oh", p.oh), field("ow", p.ow);
  field("kh", p.kh), field("kw", p.kw), field("sh", p.sh), field("sw", p.sw), field("ph", p.ph), field("pw", p.pw);
  field("dh", p.dh), field("dw", p.dw);
  field("count_include_pad", p.count_include_pad), field("divisor_override", p.divisor_override);
  field("ldx", p.ldx), field("ldy", p.ldy);
}

using Pool2dKernel = Kernel<Pool2dParams>;
KernelList<Pool2dParams> pool2d_kernels();

}  // namespace pycnn
