// What the depthwise kernels (groups == c == k) share.
#pragma once
#include "base/simd/gemm.h"
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

// For kernels that keep what neighbouring outputs share.
PYCNN_INLINE const char* why_not_steps(const Conv2dParams& p) {
  if (p.sh != p.sw || p.sh > 2) return "needs stride 1 or 2";
  if (p.dh != 1 || p.dw != 1) return "needs dilation 1";
  return nullptr;
}

}  // namespace pycnn::PYCNN_ISA_NS
