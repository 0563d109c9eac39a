// Vec: the native fp32 vector of the instruction set this file is compiled for (4, 8 or 16 floats), on the
// compiler's vector extensions. Each kernel source is built once per set with PYCNN_ISA_NS naming its namespace.
//
// No std containers, algorithms or streams in kernel files: their templates would be emitted as weak symbols with
// this set's instructions, and the linker could hand them to every other file.
#pragma once
#include <cstdint>
#include <cstring>

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

// The first n < kLanes lanes; the others read as 0. Memory past them is not touched.
PYCNN_INLINE Vec load_first(const float* p, int64_t n) {
  Vec v{};
  __builtin_memcpy(&v, p, static_cast<size_t>(n) * sizeof(float));
  return v;
}
PYCNN_INLINE void store_first(float* p, Vec v, int64_t n) {
  __builtin_memcpy(p, &v, static_cast<size_t>(n) * sizeof(float));
}

// `f - Vec{}` folds to one broadcast (an addition would have to keep -0).
PYCNN_INLINE Vec broadcast(float f) { return f - Vec{}; }

PYCNN_INLINE Vec select(IVec mask, Vec yes, Vec no) {
  return reinterpret_cast<Vec>((mask & reinterpret_cast<IVec>(yes)) | (~mask & reinterpret_cast<IVec>(no)));
}
// Comparisons are false for NaN, so max and min return NaN when x is NaN (bound is never NaN).
PYCNN_INLINE Vec at_least(Vec x, Vec bound) { return x < bound ? bound : x; }
PYCNN_INLINE Vec at_most(Vec x, Vec bound) { return x > bound ? bound : x; }
// Larger of two, NaN if either is.
PYCNN_INLINE Vec max_nan(Vec a, Vec b) { return ((a > b) | (a != a)) ? a : b; }

}  // namespace pycnn::PYCNN_ISA_NS
