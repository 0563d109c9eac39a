// Weight panels of the dense kernels: [group][panel of kLanes outputs][reduction][kLanes], zero past the last output.
#pragma once
#include "base/simd/gemm.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::PYCNN_ISA_NS {

PYCNN_INLINE int64_t reduction(const Conv2dParams& p) { return p.kh * p.kw * p.group_c(); }

PYCNN_INLINE int64_t group_panels(const Conv2dParams& p) { return panels_of(p.group_k()); }

static inline int64_t panel_floats(const Conv2dParams& p) { return p.groups * group_panels(p) * reduction(p) * kLanes; }

// Reduction order: (i, j, c), or torch's own (c, i, j) when channels_first.
static inline void pack_panels(const Conv2dParams& p, const float* w, float* packed, bool channels_first) {
  const int64_t cs = p.group_c(), ks = p.group_k(), taps = p.kh * p.kw;
  for (int64_t g = 0; g < p.groups; ++g)
    for (int64_t k0 = 0; k0 < ks; k0 += kLanes)
      for (int64_t r = 0; r < cs * taps; ++r) {
        const int64_t from = channels_first ? r : (r % cs) * taps + r / cs;
        for (int64_t lane = 0; lane < kLanes; ++lane)
          *packed++ = k0 + lane < ks ? w[(g * ks + k0 + lane) * cs * taps + from] : 0.0f;
      }
}

}  // namespace pycnn::PYCNN_ISA_NS
