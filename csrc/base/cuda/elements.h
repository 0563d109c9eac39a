// 16-byte pieces of a tensor as fp32 values, and the activations on them.
#pragma once
#include <cmath>

#include "base/act.h"
#include "base/cuda/device.h"

namespace pycnn::cuda {

template <class T>
inline constexpr int kPiece = 16 / static_cast<int>(sizeof(T));  // elements

template <class T>
PYCNN_DEVICE void unpack(const Vec16& from, float (&v)[kPiece<T>]) {
#pragma unroll
  for (int i = 0; i < kPiece<T>; ++i) {
    if constexpr (sizeof(T) == 4) {
      v[i] = bits_float(from.word[i]);
    } else {
      v[i] = to_float(T{static_cast<uint16_t>(from.word[i / 2] >> i % 2 * 16)});
    }
  }
}

template <class T>
PYCNN_DEVICE Vec16 pack_piece(const float (&v)[kPiece<T>]) {
  Vec16 to{};
#pragma unroll
  for (int i = 0; i < kPiece<T>; ++i) {
    if constexpr (sizeof(T) == 4) {
      to.word[i] = float_bits(v[i]);
    } else {
      to.word[i / 2] |= static_cast<uint32_t>(from_float<T>(v[i]).bits) << i % 2 * 16;
    }
  }
  return to;
}

// The first `count` elements at p, zeros after; in one access where `whole` says that all are there and p is aligned.
template <class T>
PYCNN_DEVICE void load_piece(const T* p, int count, bool whole, float (&v)[kPiece<T>]) {
  if (whole) {
    unpack<T>(load16(p, true), v);
    return;
  }
#pragma unroll
  for (int i = 0; i < kPiece<T>; ++i) v[i] = i < count ? to_float(load(p + i)) : 0.0f;
}

template <class T>
PYCNN_DEVICE void store_piece(T* p, int count, bool whole, const float (&v)[kPiece<T>]) {
  if (whole) {
    store16(p, pack_piece<T>(v));
    return;
  }
#pragma unroll
  for (int i = 0; i < kPiece<T>; ++i)
    if (i < count) store(p + i, from_float<T>(v[i]));
}

// A piece of elements `step` apart, those with begin <= e < end, zeros elsewhere.
template <class T>
PYCNN_DEVICE Vec16 gather_piece(const T* from, int64_t step, int begin, int end) {
  Vec16 piece{};
#pragma unroll
  for (int e = 0; e < kPiece<T>; ++e) {
    if (e < begin || e >= end) continue;
    const T v = load(from + e * step);
    if constexpr (sizeof(T) == 4) {
      piece.word[e] = float_bits(v);
    } else {
      piece.word[e / 2] |= static_cast<uint32_t>(v.bits) << e % 2 * 16;
    }
  }
  return piece;
}

PYCNN_DEVICE float clamp6(float v) { return v < 0 ? 0.0f : v > 6 ? 6.0f : v; }
PYCNN_DEVICE float sigmoid(float v) { return reciprocal(1 + expf(-v)); }

// Applies f to every element; NaN stays NaN in all activations.
template <int kCount, class F>
PYCNN_DEVICE void each(float (&v)[kCount], F f) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) v[i] = f(v[i]);
}

template <int kCount>
PYCNN_DEVICE void activate(float (&v)[kCount], Act act, float param) {
  switch (act) {
    case Act::kRelu:
      return each(v, [](float x) { return x < 0 ? 0.0f : x; });
    case Act::kRelu6:
      return each(v, [](float x) { return clamp6(x); });
    case Act::kLeakyRelu:
      return each(v, [param](float x) { return x < 0 ? x * param : x; });
    case Act::kSilu:
      return each(v, [](float x) { return x * sigmoid(x); });
    case Act::kHardswish:
      return each(v, [](float x) { return x * clamp6(x + 3) * (1.0f / 6); });
    case Act::kHardsigmoid:
      return each(v, [](float x) { return clamp6(x + 3) * (1.0f / 6); });
    case Act::kSigmoid:
      return each(v, [](float x) { return sigmoid(x); });
    case Act::kTanh:
      return each(v, [](float x) { return tanhf(x); });
    case Act::kGelu:
      return each(v, [](float x) { return 0.5f * x * (1 + erff(x * 0.707106781f)); });
    case Act::kGeluTanh:
      return each(v, [](float x) { return 0.5f * x * (1 + tanhf(0.797884561f * (x + 0.044715f * x * x * x))); });
    case Act::kMish:
      return each(v, [](float x) {
        const float e = expf(x > 20 ? 20.0f : x), n = e * (e + 2);
        return x * (n * reciprocal(n + 2));
      });
    case Act::kElu:
      return each(v, [param](float x) { return x < 0 ? param * expm1f(x) : x; });
    default:
      return;
  }
}

}  // namespace pycnn::cuda
