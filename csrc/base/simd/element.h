// Element: what tensors hold in this build of a kernel, fp32 or (PYCNN_BF16) bf16. Arithmetic is fp32 in both: loads and
// stores convert, rounding to nearest even.
#pragma once
#include "base/dtype.h"
#include "base/kernel.h"
#include "base/simd/vec.h"

namespace pycnn::PYCNN_ISA_NS {

#if defined(PYCNN_BF16)
using Element = Bf16;
#define PYCNN_KERNEL_SUFFIX "bf16_" PYCNN_ISA_SUFFIX
#else
using Element = float;
#define PYCNN_KERNEL_SUFFIX "f32_" PYCNN_ISA_SUFFIX
#endif

using Ptrs = PtrsOf<Element>;
template <class Params>
using KernelOf = Kernel<Params, Element>;

// Floats that take as much memory.
template <class E = Element>
PYCNN_INLINE int64_t floats_of(int64_t elements) {
  return (elements * static_cast<int64_t>(sizeof(E)) + 3) / 4;
}

PYCNN_INLINE const char* why_not_here(const Machine& m) {
#if defined(__AVX512BF16__)
  if (m.isa >= kIsa && !m.bf16_products) return "needs avx512_bf16";
#endif
  return why_not_isa(kIsa, m);
}

PYCNN_INLINE float value_of(float v) { return v; }
PYCNN_INLINE float value_of(Bf16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}

// kLanes of bf16, each in the lower half of its lane.
typedef uint16_t Halves __attribute__((vector_size(kLanes * 2), may_alias));
typedef uint32_t Words __attribute__((vector_size(kLanes * 4), may_alias));

PYCNN_INLINE Vec widen(Halves h) { return reinterpret_cast<Vec>(__builtin_convertvector(h, Words) << 16); }

PYCNN_INLINE Halves narrow(Vec v) {
#if defined(__AVX512BF16__)
  return (Halves)_mm512_cvtneps_pbh((__m512)v);
#else
  const Words bits = reinterpret_cast<Words>(v), rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  const Words nan = bits >> 16 | 0x40, is_nan = reinterpret_cast<Words>(v != v);
  return __builtin_convertvector((is_nan & nan) | (~is_nan & rounded), Halves);
#endif
}

PYCNN_INLINE Vec load(const Bf16* p) {
  Halves h;
  std::memcpy(&h, p, sizeof h);
  return widen(h);
}
PYCNN_INLINE void store(Bf16* p, Vec v) {
  const Halves h = narrow(v);
  std::memcpy(p, &h, sizeof h);
}
#if defined(__AVX512F__)
PYCNN_INLINE Vec load_first(const Bf16* p, int64_t n) {
  return widen((Halves)_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << n) - 1), p));
}
PYCNN_INLINE void store_first(Bf16* p, Vec v, int64_t n) {
  _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << n) - 1), (__m256i)narrow(v));
}
#else
PYCNN_INLINE Vec load_first(const Bf16* p, int64_t n) {
  Halves h{};
  for (int64_t i = 0; i < n; ++i) h[i] = p[i].bits;
  return widen(h);
}
PYCNN_INLINE void store_first(Bf16* p, Vec v, int64_t n) {
  const Halves h = narrow(v);
  for (int64_t i = 0; i < n; ++i) p[i].bits = h[i];
}
#endif

PYCNN_INLINE void put(float* p, float v) { *p = v; }
PYCNN_INLINE void put(Bf16* p, float v) { store_first(p, broadcast(v), 1); }

// Whether vectors are 64 bytes and executed as such: multiply-adds are then twice as many beside the same memory.
PYCNN_INLINE bool whole_vectors() { return kLanes == 16 && machine().whole_avx512; }

// What a product of E takes at once: kStep neighbours along the depth, spread_last() the one that is left over. Sums are
// fp32. kRate: products in the time of one of fp32.
template <class E>
struct Products;

template <>
struct Products<float> {
  static constexpr int kStep = 1;
  static constexpr double kRate = 1;
  using Factor = Vec;

  PYCNN_INLINE Factor factors(const float* p) { return load(p); }
  PYCNN_INLINE Factor spread(const float* p) { return broadcast(*p); }
  PYCNN_INLINE Factor spread_last(const float* p) { return spread(p); }
  PYCNN_INLINE Vec multiply_add(Vec sum, Factor a, Factor b) { return sum + a * b; }
  // Of the lower half of the lanes; the others hold anything.
#if defined(__AVX512F__)
  PYCNN_INLINE Factor factors_low(const float* p) { return (Vec)_mm512_castps256_ps512(_mm256_loadu_ps(p)); }
  PYCNN_INLINE Factor spread_low(const float* p) { return (Vec)_mm512_castps256_ps512(_mm256_broadcast_ss(p)); }
  PYCNN_INLINE Vec multiply_add_low(Vec sum, Factor a, Factor b) {
    const auto low = [](Vec v) __attribute__((always_inline)) { return _mm512_castps512_ps256((__m512)v); };
    return (Vec)_mm512_castps256_ps512(low(sum) + low(a) * low(b));  // contracted where multiply_add is
  }
#endif
};

template <>
struct Products<Bf16> {
  static constexpr int kStep = 2;
#if defined(__AVX512BF16__)
  static constexpr double kRate = 2;
#else
  static constexpr double kRate = 0.85;  // measured with AVX2 on a Zen 5
#endif
  using Factor = Words;  // pairs, the first in the lower half

  PYCNN_INLINE Factor factors(const Bf16* p) {
    Words w;
    std::memcpy(&w, p, sizeof w);
    return w;
  }
  PYCNN_INLINE Factor spread(const Bf16* p) {
    uint32_t pair;
    std::memcpy(&pair, p, sizeof pair);
    return pair - Words{};
  }
  PYCNN_INLINE Factor spread_last(const Bf16* p) { return static_cast<uint32_t>(p->bits) - Words{}; }

  PYCNN_INLINE Vec multiply_add(Vec sum, Factor a, Factor b) {
#if defined(__AVX512BF16__)
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    const auto low = [](Words w) __attribute__((always_inline)) { return reinterpret_cast<Vec>(w << 16); };
    const auto high = [](Words w) __attribute__((always_inline)) { return reinterpret_cast<Vec>(w & 0xffff0000u); };
    sum += low(a) * low(b);
    return sum + high(a) * high(b);
#endif
  }
};

}  // namespace pycnn::PYCNN_ISA_NS
