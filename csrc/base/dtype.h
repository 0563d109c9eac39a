// Storage types of GPU tensors and their conversion from and to fp32: rounding to nearest even, NaN stays NaN.
// The same text is compiled for the device (one instruction each) and for the host (bit arithmetic).
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__CUDACC__)
#define PYCNN_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define PYCNN_HOST_DEVICE inline
#endif

namespace pycnn {

// The numbers are part of the Python interface.
enum class Dtype : int64_t { kF32 = 0, kBf16 = 1, kF16 = 2 };

struct Bf16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

template <class T>
inline constexpr Dtype kDtypeOf = Dtype::kF32;
template <>
inline constexpr Dtype kDtypeOf<Bf16> = Dtype::kBf16;
template <>
inline constexpr Dtype kDtypeOf<F16> = Dtype::kF16;

PYCNN_HOST_DEVICE uint32_t float_bits(float v) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(v);
#else
  uint32_t bits;
  std::memcpy(&bits, &v, sizeof bits);
  return bits;
#endif
}

PYCNN_HOST_DEVICE float bits_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float v;
  std::memcpy(&v, &bits, sizeof v);
  return v;
#endif
}

PYCNN_HOST_DEVICE float to_float(float v) { return v; }
PYCNN_HOST_DEVICE float to_float(Bf16 v) { return bits_float(static_cast<uint32_t>(v.bits) << 16); }
PYCNN_HOST_DEVICE float to_float(F16 v) {
#if defined(__CUDA_ARCH__)
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
  return f;
#else
  const uint32_t sign = (v.bits & 0x8000u) << 16, exponent = v.bits >> 10 & 31, mantissa = v.bits & 1023;
  if (exponent == 31) return bits_float(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
  const float tiny = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -tiny : tiny;
#endif
}

template <class T>
PYCNN_HOST_DEVICE T from_float(float v);

template <>
PYCNN_HOST_DEVICE float from_float<float>(float v) {
  return v;
}

template <>
PYCNN_HOST_DEVICE Bf16 from_float<Bf16>(float v) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return {bits};
#else
  const uint32_t bits = float_bits(v);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
#endif
}

template <>
PYCNN_HOST_DEVICE F16 from_float<F16>(float v) {
#if defined(__CUDA_ARCH__)
  uint16_t bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return {bits};
#else
  const uint32_t sign = float_bits(v) >> 16 & 0x8000u;
  uint32_t bits = float_bits(v) & 0x7fffffffu;
  if (bits > 0x7f800000u) return {static_cast<uint16_t>(sign | 0x7e00u)};
  if (bits >= 0x477ff000u) return {static_cast<uint16_t>(sign | 0x7c00u)};  // 65520 and above round to infinity
  // Below 2^-14: adding 1/2, whose last place is 2^-24, rounds to a multiple of that.
  if (bits < 0x38800000u) return {static_cast<uint16_t>(sign | (float_bits(bits_float(bits) + 0.5f) - 0x3f000000u))};
  bits += 0xfffu - (112u << 23) + (bits >> 13 & 1);
  return {static_cast<uint16_t>(sign | bits >> 13)};
#endif
}

// Two elements of 16 bits in a word, the first in its low half.
template <class T>
PYCNN_HOST_DEVICE uint32_t pack_two(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t word;
  if constexpr (std::is_same_v<T, Bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  }
  return word;
#else
  return from_float<T>(low).bits | static_cast<uint32_t>(from_float<T>(high).bits) << 16;
#endif
}

}  // namespace pycnn
