// The activations of base/act.h on vectors. Accuracy on the clamped ranges: exp 2 ulp; tanh, sigmoid and erf 4e-7
// absolute. NaN stays NaN.
#pragma once
#include "base/act.h"
#include "base/simd/element.h"

namespace pycnn::PYCNN_ISA_NS {

// Horner's scheme, the coefficient of the highest power first.
template <class... Rest>
PYCNN_INLINE Vec polynomial(Vec x, float highest, Rest... rest) {
  Vec p = broadcast(highest);
  ((p = p * x + rest), ...);
  return p;
}

// e^x by x = k ln2 + r, |r| <= ln2/2, and a degree-6 polynomial in r. Flushes below e^-87.3, saturates above e^88.3
// to a finite value near FLT_MAX, which is enough for sigmoid and tanh.
PYCNN_INLINE Vec exp(Vec x) {
  const Vec magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  Vec t = at_least(at_most(x, broadcast(88.3f)), broadcast(-87.3f));
  const Vec kf = (t * 1.44269504f + magic);
  const IVec k = reinterpret_cast<IVec>(kf) - reinterpret_cast<IVec>(magic);
  const Vec n = kf - magic;
  const Vec r = (t - n * 0.693359375f) + n * 2.12194440e-4f;
  const Vec p = polynomial(r, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f);
  return p * reinterpret_cast<Vec>((k + 127) << 23);
}

// 1 / x to 1 ulp. Where the set has an estimate of 14 bits, one step of Newton's: a division of 16 lanes takes as long as
// 5 to 10 multiplications. There 0 and infinities become NaN.
PYCNN_INLINE Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
  const Vec y = (Vec)_mm512_rcp14_ps((__m512)x);
  return y * (2.0f - x * y);
#else
  return 1.0f / x;
#endif
}

#if defined(__AVX512F__)
// 1 + e^-x, e^-x = 2^t = 2^floor(t) 2^r, 0 <= r < 1; 2^r minimax of degree 5 (7.5e-8). reduce and scalef know the floor by
// themselves, and infinities. A division is no slower here than an estimate of the reciprocal with a step of Newton's: it
// runs beside the products.
PYCNN_INLINE Vec one_plus_exp_of_minus(Vec x) {
  const Vec t = x * -1.44269504f;
  const Vec r = (Vec)_mm512_reduce_ps((__m512)t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  const Vec p = polynomial(r, 1.877576695e-03f, 8.989339694e-03f, 5.582631752e-02f, 2.401536107e-01f, 6.931530833e-01f,
                           0.9999999404f);
  return 1.0f + (Vec)_mm512_scalef_ps((__m512)p, (__m512)t);
}

PYCNN_INLINE Vec sigmoid(Vec x) { return 1.0f / one_plus_exp_of_minus(x); }
PYCNN_INLINE Vec silu(Vec x) { return x / one_plus_exp_of_minus(x); }
#else
// exp() ends near FLT_MAX: the sigmoid of what lies beyond is flushed to 0, and x times it is 0 however large x is.
PYCNN_INLINE Vec sigmoid(Vec x) { return 1.0f / (1.0f + exp(-x)); }
PYCNN_INLINE Vec silu(Vec x) { return x * sigmoid(x); }
#endif

// Rational approximation x P(x^2) / Q(x^2) on |x| < 7.9 (Eigen's), +-1 beyond; x itself below 4e-4.
PYCNN_INLINE Vec tanh(Vec x) {
  const Vec t = at_least(at_most(x, broadcast(7.90531110763549805f)), broadcast(-7.90531110763549805f));
  const Vec s = t * t;
  const Vec p = polynomial(s, -2.76076847742355e-16f, 2.00018790482477e-13f, -8.60467152213735e-11f,
                           5.12229709037114e-08f, 1.48572235717979e-05f, 6.37261928875436e-04f, 4.89352455891786e-03f);
  const Vec q =
      polynomial(s, 1.19825839466702e-06f, 1.18534705686654e-04f, 2.26843463243900e-03f, 4.89352518554385e-03f);
  const Vec y = t * p / q;
  // 1 itself from 9 on: gelu_tanh multiplies 1 + tanh by x, however large.
  const Vec far = x > broadcast(9.0f) ? broadcast(1.0f) : x < broadcast(-9.0f) ? broadcast(-1.0f) : y;
  return (s < broadcast(1.6e-7f)) ? x : far;
}

// Rational approximation x P(x^2) / Q(x^2) on |x| < 3.92, minimax in absolute error (2e-8 before rounding); +-1 beyond.
PYCNN_INLINE Vec erf(Vec x) {
  const Vec s = x * x;
  const Vec p =
      polynomial(s, 2.03472905e-06f, 2.87480128e-04f, 3.86836100e-03f, 5.30605875e-02f, 1.92764848e-01f, 1.12837899f);
  const Vec q =
      polynomial(s, 3.80706188e-05f, 1.18812325e-03f, 1.51723642e-02f, 1.15084946e-01f, 5.04165053e-01f, 1.0f);
  const Vec y = x * p * reciprocal(q), one = broadcast(1.0f);
  return x > broadcast(3.92f) ? one : x < broadcast(-3.92f) ? -one : y;
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
      return silu(x);
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
static inline void activate_rows(Element* y, int64_t ld, int64_t rows, int64_t n, Act act, float param) {
  if (ld == n) n *= rows, rows = 1;
  const auto each = [&](auto constant_act) __attribute__((always_inline)) {
    for (int64_t r = 0; r < rows; ++r) {
      Element* row = y + r * ld;
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
