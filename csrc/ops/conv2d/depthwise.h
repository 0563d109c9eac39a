// What the depthwise kernels (groups == c == k) share.
#pragma once
#include "base/simd/activate.h"
#include "base/simd/gemm.h"
#include "base/simd/mean.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {

// Channels of a block of which `pixels` pixels stay in L1 while it passes over the map (14^2 x 384, 3 x 3: 22 -> 11 us).
// All of them where not even two vectors would stay: one line of each pixel is slower.
PYCNN_INLINE int64_t block_channels(const Conv2dParams& p, int64_t pixels) {
  constexpr int64_t l1_bytes = 24 << 10;  // of 32 KiB
  const int64_t vectors = l1_bytes / (pixels * kLanes * 4);
  return vectors < 2 ? panels_of(p.c) * kLanes : vectors * kLanes;
}

PYCNN_INLINE const char* why_not_depthwise(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (const char* reason = why_not_prologue(p)) return reason;
  if (p.groups != p.c || p.k != p.c) return "needs groups == c == k";
  if (p.x_nchw) return "needs an NHWC input";
  return nullptr;
}

// What comes behind the sums of row r of outputs, channels [channels), which lie in L1: an activation that is no clamp, and
// the means where they are asked for (EfficientNet-B0's poolings read its maps again, from L3: 6 % of it).
static inline void finish_row(const Conv2dParams& p, const Ptrs& ptrs, int64_t r, Range channels) {
  Element* const y = ptrs.y + r * p.ow * p.ldy;
  if (!is_clamp(p.act))
    activate_rows(y + channels.begin, p.ldy, p.ow, channels.end - channels.begin, p.act,
                  static_cast<float>(p.act_param));
  if (!ptrs.means) return;
  for (int64_t c = channels.begin; c < channels.end; c += kLanes) {
    const int64_t left = channels.end - c;
    const bool whole = left >= kLanes;
    Vec mean[1];
    row_mean(
        p.ow,
        [&](int64_t ox, int) __attribute__((always_inline)) {
          const Element* const at = y + ox * p.ldy + c;
          return whole ? load(at) : load_first(at, left);
        },
        mean);
    Element* const to = ptrs.means + r * p.k + c;
    whole ? store(to, mean[0]) : store_first(to, mean[0], left);
  }
}

// For kernels that keep what neighbouring outputs share.
PYCNN_INLINE const char* why_not_steps(const Conv2dParams& p) {
  if (p.sh != p.sw || p.sh > 2) return "needs stride 1 or 2";
  if (p.sh != 1 && (p.dh != 1 || p.dw != 1)) return "needs stride 1 or dilation 1";
  return nullptr;
}

// A row of a layer, or, where its window is dilated, one of dw rows interleaved with one another: outputs dw columns apart
// see inputs dw columns apart, without dilation.
struct Line {
  int64_t w, ow, pad;        // columns of inputs and of outputs, columns of padding on the left
  int64_t ldx, ldy, ldr;     // elements from a column to the next
  int64_t x_begin, y_begin;  // the first column of inputs and of outputs in the whole row
};

// The line of outputs phase, phase + dw, ..
PYCNN_INLINE Line line_of(const Conv2dParams& p, int64_t phase) {
  const int64_t pad = (p.pw - phase + p.dw - 1) / p.dw, begin = phase - p.pw + pad * p.dw;
  const int64_t w = p.w > begin ? (p.w - begin + p.dw - 1) / p.dw : 0;
  return {w, (p.ow - phase + p.dw - 1) / p.dw, pad, p.dw * p.ldx, p.dw * p.ldy, p.dw * p.ldr, begin, phase};
}

// Rows i of a window of k rows, dilated by d, whose first lies in row y0 of a map of h rows, that lie in the map.
PYCNN_INLINE Range rows_inside(int64_t y0, int64_t k, int64_t d, int64_t h) {
  const int64_t begin = y0 < 0 ? (-y0 + d - 1) / d : 0, end = h > y0 ? (h - y0 + d - 1) / d : 0;
  return {begin < k ? begin : k, end < k ? end : k};
}

}  // namespace pycnn::PYCNN_ISA_NS
