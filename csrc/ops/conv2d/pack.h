// Weight panels of the dense kernels: [group][panel of kLanes outputs], each as pack_panel makes it.
#pragma once
#include "base/simd/gemm.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::PYCNN_ISA_NS {

PYCNN_INLINE int64_t reduction(const Conv2dParams& p) { return p.kh * p.kw * p.group_c(); }

PYCNN_INLINE int64_t group_panels(const Conv2dParams& p) { return panels_of(p.group_k()); }

// depth: of a tile's taps; the reduction is taps * depth. E: of the packed weights.
template <class E = Element>
PYCNN_INLINE int64_t panel_floats(const Conv2dParams& p, int64_t depth) {
  return floats_of<E>(p.groups * group_panels(p) * panel_size<E>(reduction(p) / depth, depth));
}

// Reduction order: (i, j, c), or torch's own (c, i, j) when channels_first.
template <class E = Element>
PYCNN_INLINE void pack_panels(const Conv2dParams& p, const float* w, float* packed, int64_t depth,
                              bool channels_first) {
  const int64_t cs = p.group_c(), ks = p.group_k(), taps = p.kh * p.kw;
  auto* to = reinterpret_cast<E*>(packed);
  for (int64_t g = 0; g < p.groups; ++g)
    for (int64_t k0 = 0; k0 < ks; k0 += kLanes) {
      const auto weight = [&](int64_t tap, int64_t c, int64_t lane) __attribute__((always_inline)) {
        const int64_t r = tap * depth + c, from = channels_first ? r : (r % cs) * taps + r / cs;
        return w[(g * ks + k0 + lane) * cs * taps + from];
      };
      pack_panel(cs * taps / depth, depth, ks - k0, weight, to);
    }
}

}  // namespace pycnn::PYCNN_ISA_NS
