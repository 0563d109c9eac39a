// The activations of base/act.h on vectors. Accuracy on the clamped ranges: exp 2 ulp, tanh and sigmoid 4e-7
// absolute, erf 2e-7 absolute. NaN stays NaN.
#pragma once
#include "base/act.h"
#include "base/simd/vec.h"

namespace pycnn::PYCNN_ISA_NS {

// e^x by x = k ln2 + r, |r| <= ln2/2, and a degree-6 polynomial in r. Flushes below e^-87.3, saturates above e^88.3
// to a finite value near FLT_MAX, which is enough for sigmoid and tanh.
PYCNN_INLINE Vec exp(Vec x) {
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  Vec t = at_least(at_most(x, broadcast(88.3f)), broadcast(-87.3f));
  const Vec kf = (t * 1.44269504f + magic);
  const IVec k = reinterpret_cast<IVec>(kf) - reinterpret_cast<IVec>(magic);
  const Vec n = kf - magic;
  const Vec r = (t - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = broadcast(1.0f / 720);
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * reinterpret_cast<Vec>((k + 127) << 23);
}

PYCNN_INLINE Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }

// Rational approximation x P(x^2) / Q(x^2) on |x| < 7.9 (Eigen's), +-1 beyond; x itself below 4e-4.
PYCNN_INLINE Vec tanh(Vec x) {
  const Vec t = at_least(at_most(x, broadcast(7.90531110763549805f)), broadcast(-7.90531110763549805f));
  const Vec s = t * t;
  Vec p = broadcast(-2.76076847742355e-16f);
  p = p * s + 2.00018790482477e-13f;
  p = p * s + -8.60467152213735e-11f;
  p = p * s + 5.12229709037114e-08f;
  p = p * s + 1.48572235717979e-05f;
  p = p * s + 6.37261928875436e-04f;
  p = p * s + 4.89352455891786e-03f;
  Vec q = broadcast(1.19825839466702e-06f);
  q = q * s + 1.18534705686654e-04f;
  q = q * s + 2.26843463243900e-03f;
  q = q * s + 4.89352518554385e-03f;
  const Vec y = t * p / q;
  // 1 itself from 9 on: gelu_tanh multiplies 1 + tanh by x, however large.
  const Vec far = x > broadcast(9.0f) ? broadcast(1.0f) : x < broadcast(-9.0f) ? broadcast(-1.0f) : y;
  return (s < broadcast(1.6e-7f)) ? x : far;
}

// erf by Abramowitz and Stegun 7.1.26 refined: 1 - (a1 u + ... + a5 u^5) e^(-x^2), u = 1 / (1 + p|x|), for |x| >= 0.5;
// the Taylor series below, where the difference would cancel.
PYCNN_INLINE Vec erf(Vec x) {
  const Vec s = x * x;
  Vec small = broadcast(-1.0f / 1320);
  small = small * s + 1.0f / 216;
  small = small * s + -1.0f / 42;
  small = small * s + 0.1f;
  small = small * s + -1.0f / 3;
  small = small * s + 1.0f;
  small = small * x * 1.12837916709551f;
  const Vec a = x < Vec{} ? -x : x;
  const Vec u = 1.0f / (1.0f + 0.3275911f * a);
  Vec p = broadcast(1.061405429f);
  p = p * u + -1.453152027f;
  p = p * u + 1.421413741f;
  p = p * u + -0.284496736f;
  p = p * u + 0.254829592f;
  const Vec large = 1.0f - p * u * exp(-s);
  const Vec signed_large = x < Vec{} ? -large : large;
  const Vec y = (a < broadcast(0.5f)) ? small : signed_large;
  return (x != x) ? x : y;
}

// tanh(log(1 + e^x)) = n / (n + 2), n = e^x (e^x + 2); 1 from 20 on, and 0 itself where exp() would end: x may be large.
PYCNN_INLINE Vec mish(Vec x) {
  const Vec e = exp(at_most(x, broadcast(20.0f))), n = e * (e + 2.0f);
  return x * (x < broadcast(-87.0f) ? Vec{} : n / (n + 2.0f));
}

PYCNN_INLINE Vec activate(Vec x, Act act, float param) {
  const Vec zero{};
  switch (act) {
    case Act::kRelu:
      return at_least(x, zero);
    case Act::kRelu6:
      return at_most(at_least(x, zero), broadcast(6.0f));
    case Act::kLeakyRelu:
      return x < zero ? x * param : x;
    case Act::kSilu:
      return x * sigmoid(x);
    case Act::kHardswish:
      return x * at_most(at_least(x + 3.0f, zero), broadcast(6.0f)) * (1.0f / 6);
    case Act::kHardsigmoid:
      return at_most(at_least(x + 3.0f, zero), broadcast(6.0f)) * (1.0f / 6);
    case Act::kSigmoid:
      return sigmoid(x);
    case Act::kTanh:
      return tanh(x);
    case Act::kGelu:
      return 0.5f * x * (1.0f + erf(x * 0.707106781f));
    case Act::kGeluTanh:
      return 0.5f * x * (1.0f + tanh(0.797884561f * (x + 0.044715f * x * x * x)));
    case Act::kMish:
      return mish(x);
    case Act::kElu:
      return x < zero ? (exp(x) - 1.0f) * param : x;
    default:
      return x;
  }
}

// Applies act in place to `rows` rows of n values, `ld` apart.
static inline void activate_rows(float* y, int64_t ld, int64_t rows, int64_t n, Act act, float param) {
  if (ld == n) n *= rows, rows = 1;
  const auto each = [&](auto constant_act) __attribute__((always_inline)) {
    for (int64_t r = 0; r < rows; ++r) {
      float* row = y + r * ld;
      int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes) store(row + i, activate(load(row + i), constant_act(), param));
      if (i < n) store_first(row + i, activate(load_first(row + i, n - i), constant_act(), param), n - i);
    }
  };
  switch (act) {
#define PYCNN_ACT(name) \
  case Act::name:       \
    return each([]() __attribute__((always_inline)) { return Act::name; });
    PYCNN_ACT(kRelu)
    PYCNN_ACT(kRelu6)
    PYCNN_ACT(kLeakyRelu)
    PYCNN_ACT(kSilu)
    PYCNN_ACT(kHardswish)
    PYCNN_ACT(kHardsigmoid)
    PYCNN_ACT(kSigmoid)
    PYCNN_ACT(kTanh)
    PYCNN_ACT(kGelu)
    PYCNN_ACT(kGeluTanh)
    PYCNN_ACT(kMish)
    PYCNN_ACT(kElu)
#undef PYCNN_ACT
    default:
      return;
  }
}

}  // namespace pycnn::PYCNN_ISA_NS
