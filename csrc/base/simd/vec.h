// Vec: the native fp32 vector of the instruction set this file is compiled for (4, 8 or 16 floats), on the
// compiler's vector extensions. Each kernel source is built once per set with PYCNN_ISA_NS naming its namespace.
//
// No std containers, algorithms or streams in kernel files: their templates would be emitted as weak symbols with
// this set's instructions, and the linker could hand them to every other file.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "base/machine.h"

#ifndef PYCNN_ISA_NS
#error "kernel sources are compiled once per instruction set with -DPYCNN_ISA_NS=isa_<name>"
#endif

namespace pycnn::PYCNN_ISA_NS {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
inline constexpr Isa kIsa = Isa::kAvx512;
#define PYCNN_ISA_SUFFIX "avx512"
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
inline constexpr Isa kIsa = Isa::kAvx2;
#define PYCNN_ISA_SUFFIX "avx2"
#else
inline constexpr int kLanes = 4;
inline constexpr Isa kIsa = Isa::kBaseline;
#define PYCNN_ISA_SUFFIX "baseline"
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4), may_alias));
typedef int32_t IVec __attribute__((vector_size(kLanes * 4), may_alias));

// Everything here is forced inline: a copy left out of line would be a weak symbol of this set.
#define PYCNN_INLINE static inline __attribute__((always_inline))

PYCNN_INLINE Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
PYCNN_INLINE void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }

// The first n < kLanes lanes; the others read as 0. Memory past them is not touched. Masked instructions where the set
// has them: a copy of variable size is a call, 10 ns a row.
#if defined(__AVX512F__)
PYCNN_INLINE Vec load_first(const float* p, int64_t n) {
  return (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
}
PYCNN_INLINE void store_first(float* p, Vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), (__m512)v);
}
#elif defined(__AVX2__)
PYCNN_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
PYCNN_INLINE Vec load_first(const float* p, int64_t n) { return (Vec)_mm256_maskload_ps(p, first_lanes(n)); }
PYCNN_INLINE void store_first(float* p, Vec v, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), (__m256)v); }
#else
PYCNN_INLINE Vec load_first(const float* p, int64_t n) {
  Vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
PYCNN_INLINE void store_first(float* p, Vec v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
#endif

// `f - Vec{}` folds to one broadcast (an addition would have to keep -0).
// A value that is what it is: it stays in its register, where the compiler would load it again for every use, and no
// product in it becomes a part of a later multiply-add.
PYCNN_INLINE void pin(Vec& v) {
#if defined(__AVX512F__)
  asm("" : "+v"(v));
#elif defined(__x86_64__)
  asm("" : "+x"(v));
#elif defined(__aarch64__)
  asm("" : "+w"(v));
#endif
}

PYCNN_INLINE Vec broadcast(float f) { return f - Vec{}; }

PYCNN_INLINE Vec select(IVec mask, Vec yes, Vec no) {
  return reinterpret_cast<Vec>((mask & reinterpret_cast<IVec>(yes)) | (~mask & reinterpret_cast<IVec>(no)));
}
// Comparisons are false for NaN, so max and min return NaN when x is NaN (bound is never NaN).
PYCNN_INLINE Vec at_least(Vec x, Vec bound) { return x < bound ? bound : x; }
PYCNN_INLINE Vec at_most(Vec x, Vec bound) { return x > bound ? bound : x; }
// Larger of two, NaN if either is.
PYCNN_INLINE Vec max_nan(Vec a, Vec b) { return b != b ? b : at_least(a, b); }

}  // namespace pycnn::PYCNN_ISA_NS
