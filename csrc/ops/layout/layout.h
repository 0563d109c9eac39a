// Moves a map between contiguous NCHW and NHWC with a pixel stride, either way: y[n, y, x, c] = x[n, c, y, x].
// Internal: the plan's first and last step where torch's memory format asks for it.
#pragma once
#include "base/kernel.h"

namespace pycnn {

struct LayoutParams {
  int64_t n = 1, pixels = 1, c = 1;  // pixels = h * w
  int64_t to_nchw = 0;               // 0: NCHW -> NHWC, 1: NHWC -> NCHW
  int64_t ld = 0;                    // pixel stride of the NHWC side, elements
};

template <class Visit>
void visit_fields(LayoutParams& p, Visit&& field) {
  field("n", p.n), field("pixels", p.pixels), field("c", p.c), field("to_nchw", p.to_nchw), field("ld", p.ld);
}

using LayoutKernel = Kernel<LayoutParams>;
KernelList<LayoutParams> layout_kernels();

}  // namespace pycnn
