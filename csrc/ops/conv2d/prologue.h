// A 1 x 1 convolution's input on its way: clamp(x * scale + shift), or x * gate, a pixel at a time into memory of the
// worker's own, from where the product reads it.
#pragma once
#include "base/simd/gemm.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::PYCNN_ISA_NS {

// Floats of scale, and of shift, in front of packed weights; zeros behind the c of them.
PYCNN_INLINE int64_t norm_floats(const Conv2dParams& p) { return panels_of(p.c) * kLanes; }
PYCNN_INLINE int64_t norms_floats(const Conv2dParams& p) {
  return p.prologue == Prologue::kNorm ? 2 * norm_floats(p) : 0;
}

// w: scale [c], shift [c].
PYCNN_INLINE void pack_norms(const Conv2dParams& p, const float* w, float* packed) {
  for (int64_t part = 0; part < 2; ++part, w += p.c, packed += norm_floats(p))
    for (int64_t c = 0; c < norm_floats(p); ++c) packed[c] = c < p.c ? w[c] : 0.0f;
}

// Elements between made pixels: whole vectors, off multiples of 4 KiB, at which a tile's rows fall into one cache set.
PYCNN_INLINE int64_t made_ld(const Conv2dParams& p) {
  const int64_t ld = panels_of(p.c) * kLanes;
  return ld * static_cast<int64_t>(sizeof(Element)) % 4096 == 0 ? ld + kLanes : ld;
}

struct Made {
  const Conv2dParams& p;
  const Ptrs& ptrs;
  Element* memory;  // of pixels made_ld apart

  bool wanted() const { return p.prologue != Prologue::kNone; }

  // rows[r], pixel `pixel` + r of the output, is made at `at` + r of the memory and read from there.
  void make(const Element** rows, int64_t pixel, int64_t count, int64_t at) const {
    const int64_t ld = made_ld(p), image = p.oh * p.ow;
    const Vec lo = broadcast(clamp_lo(p.prologue_act)), hi = broadcast(clamp_hi(p.prologue_act));
    for (int64_t r = 0; r < count; ++r) {
      Element* const to = memory + (at + r) * ld;
      if (p.prologue == Prologue::kNorm)
        norm(rows[r], lo, hi, to);
      else
        gate(rows[r], ptrs.gate + (pixel + r) / image * p.ldg, to);
      rows[r] = to;
    }
  }

 private:
  void norm(const Element* x, Vec lo, Vec hi, Element* to) const {
    const float *const scale = ptrs.w, *const shift = ptrs.w + norm_floats(p);
    int64_t c = 0;
    for (; c + kLanes <= p.c; c += kLanes)
      store(to + c, at_most(at_least(load(x + c) * load(scale + c) + load(shift + c), lo), hi));
    if (c == p.c) return;
    const Vec v = load_first(x + c, p.c - c) * load(scale + c) + load(shift + c);
    store(to + c, at_most(at_least(v, lo), hi));
  }

  void gate(const Element* x, const Element* factors, Element* to) const {
    int64_t c = 0;
    for (; c + kLanes <= p.c; c += kLanes) store(to + c, load(x + c) * load(factors + c));
    if (c < p.c) store(to + c, load_first(x + c, p.c - c) * load_first(factors + c, p.c - c));
  }
};

}  // namespace pycnn::PYCNN_ISA_NS
