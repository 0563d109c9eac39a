// A row at a time; where no operand has gaps or repeats inside an image, an image (or all of them) is one row, split in
// whole vectors. An activation that is not a clamp is a second pass over a piece that is still in L1.
#include "ops/arith/simd.h"
#include "base/simd/activate.h"
#include "base/simd/gemm.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kPiece = 1024;  // floats: 12 KiB with both operands

PYCNN_INLINE Vec square_root(Vec x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX2__)
  return (Vec)_mm256_sqrt_ps((__m256)x);
#else
  for (int lane = 0; lane < kLanes; ++lane) x[lane] = __builtin_sqrtf(x[lane]);
  return x;
#endif
}

template <ArithKind kind>
PYCNN_INLINE Vec apply(Vec x, Vec b) {
  switch (kind) {
    case ArithKind::kAdd:
      return x + b;
    case ArithKind::kSub:
      return x - b;
    case ArithKind::kMul:
      return x * b;
    case ArithKind::kDiv:
      return x / b;
    case ArithKind::kRsub:
      return b - x;
    case ArithKind::kPrelu:
      return x > Vec{} ? x : b * x;
    case ArithKind::kMax:
      return max_nan(x, b);
    case ArithKind::kSqrt:
      return square_root(x + b);
    case ArithKind::kRsqrt:
      return 1.0f / square_root(x + b);
    default:
      return b / x;
  }
}

// The second operand where it is a number, which is not rounded to the elements' type.
struct Number {
  float value;
};
PYCNN_INLINE Number moved(Number b, int64_t) { return b; }
PYCNN_INLINE const Element* moved(const Element* b, int64_t by) { return b + by; }

template <ArithKind kind, class Second>
PYCNN_INLINE void each(const ArithParams& p, const Element* x, Element* y, int64_t n, const Second& second) {
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
  const auto clamp = [&](Vec v) __attribute__((always_inline)) { return at_most(at_least(v, lo), hi); };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, clamp(apply<kind>(load(x + i), second(i, kLanes))));
  if (i < n) store_first(y + i, clamp(apply<kind>(load_first(x + i, n - i), second(i, n - i))), n - i);
}

template <ArithKind kind>
PYCNN_INLINE void piece(const ArithParams& p, const Element* x, Number b, Element* y, int64_t n) {
  const Vec one = broadcast(b.value);
  each<kind>(p, x, y, n, [one](int64_t, int64_t) __attribute__((always_inline)) { return one; });
}

template <ArithKind kind>
PYCNN_INLINE void piece(const ArithParams& p, const Element* x, const Element* b, Element* y, int64_t n) {
  if (p.bc == 0) return piece<kind>(p, x, Number{value_of(*b)}, y, n);
  each<kind>(p, x, y, n, [b](int64_t i, int64_t left) __attribute__((always_inline)) {
    return left < kLanes ? load_first(b + i, left) : load(b + i);
  });
}

template <ArithKind kind, class B>
PYCNN_INLINE void row(const ArithParams& p, const Element* x, B b, Element* y, int64_t n) {
  if (is_clamp(p.act)) return piece<kind>(p, x, b, y, n);
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t size = n - i < kPiece ? n - i : kPiece;
    piece<kind>(p, x + i, moved(b, i * p.bc), y + i, size);
    activate_rows(y + i, size, 1, size, p.act, static_cast<float>(p.act_param));
  }
}

template <ArithKind kind, class B>
PYCNN_INLINE void rows(const ArithParams& p, const Element* x, B b, Element* y, Worker worker) {
  const int64_t all = p.n * p.pixels * p.c;
  const bool dense = p.ldx == p.c && p.ldy == p.c;
  const bool same = p.bc == 1 && (p.pixels == 1 || p.bp == p.c) && (p.n == 1 || p.bn == p.pixels * p.c);
  const bool one = p.bc == 0 && (p.pixels == 1 || p.bp == 0) && (p.n == 1 || p.bn == 0);
  if (dense && (same || one)) {
    const Range vectors = share((all + kLanes - 1) / kLanes, worker);
    const int64_t begin = vectors.begin * kLanes, end = vectors.end * kLanes < all ? vectors.end * kLanes : all;
    if (begin < end) row<kind>(p, x + begin, moved(b, begin * p.bc), y + begin, end - begin);
    return;
  }
  const Range mine = share(p.n * p.pixels, worker);
  for (int64_t i = mine.begin; i < mine.end; ++i)
    row<kind>(p, x + i * p.ldx, moved(b, i / p.pixels * p.bn + i % p.pixels * p.bp), y + i * p.ldy, p.c);
}

template <class B>
void all_rows(const ArithParams& p, const Element* x, B b, Element* y, Worker worker) {
  switch (p.kind) {
    case ArithKind::kAdd:
      return rows<ArithKind::kAdd>(p, x, b, y, worker);
    case ArithKind::kSub:
      return rows<ArithKind::kSub>(p, x, b, y, worker);
    case ArithKind::kMul:
      return rows<ArithKind::kMul>(p, x, b, y, worker);
    case ArithKind::kDiv:
      return rows<ArithKind::kDiv>(p, x, b, y, worker);
    case ArithKind::kRsub:
      return rows<ArithKind::kRsub>(p, x, b, y, worker);
    case ArithKind::kRdiv:
      return rows<ArithKind::kRdiv>(p, x, b, y, worker);
    case ArithKind::kPrelu:
      return rows<ArithKind::kPrelu>(p, x, b, y, worker);
    case ArithKind::kMax:
      return rows<ArithKind::kMax>(p, x, b, y, worker);
    case ArithKind::kSqrt:
      return rows<ArithKind::kSqrt>(p, x, b, y, worker);
    case ArithKind::kRsqrt:
      return rows<ArithKind::kRsqrt>(p, x, b, y, worker);
  }
}

void run(const ArithParams& p, const Ptrs& ptrs, Worker worker) {
  if (const Element* b = ptrs.residual ? ptrs.residual : reinterpret_cast<const Element*>(ptrs.w))
    all_rows(p, ptrs.x, b, ptrs.y, worker);
  else
    all_rows(p, ptrs.x, Number{static_cast<float>(p.scalar)}, ptrs.y, worker);
}

const char* why_not(const ArithParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<ArithParams> arith_rows{"arith_rows_" PYCNN_KERNEL_SUFFIX, why_not,
                                              no_weights<ArithParams>,           pack_nothing<ArithParams>,
                                              no_workspace<ArithParams>,         run};

}  // namespace pycnn::PYCNN_ISA_NS
