// A row's squares, with zeros on both sides, are added up at each channel: size additions a vector. The power is exact for
// beta = 3/4, that of the paper, by two square roots; any other goes through the mathematics library.
#include <cmath>

#include "base/simd/gemm.h"
#include "ops/local_response_norm/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Zeros, the squares, and zeros up to a whole vector past the last window.
int64_t scratch_floats(const LocalResponseNormParams& p) { return panels_of(p.c + p.size) * kLanes + kLanes; }

Vec root(Vec x) {
  Vec y{};
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) y[lane] = __builtin_sqrtf(x[lane]);
  return y;
}

Vec power(Vec x, float beta) {
  if (beta == 0.75f) return root(x) * root(root(x));
  Vec y{};
  for (int lane = 0; lane < kLanes; ++lane) y[lane] = ::powf(x[lane], beta);
  return y;
}

void row(const LocalResponseNormParams& p, const Element* x, Element* y, float* squares) {
  const int64_t before = p.size / 2;
  float* inside = squares + before;
  int64_t i = 0;
  for (; i + kLanes <= p.c; i += kLanes) store(inside + i, load(x + i) * load(x + i));
  if (i < p.c) {
    const Vec v = load_first(x + i, p.c - i);
    store_first(inside + i, v * v, p.c - i);
  }
  const float factor = static_cast<float>(p.alpha / static_cast<double>(p.size));
  const Vec k = broadcast(static_cast<float>(p.k));
  const auto quotient = [&](Vec v, int64_t at) __attribute__((always_inline)) {
    Vec sum{};
    for (int64_t j = 0; j < p.size; ++j) sum += load(squares + at + j);
    return v / power(k + sum * factor, static_cast<float>(p.beta));
  };
  for (i = 0; i + kLanes <= p.c; i += kLanes) store(y + i, quotient(load(x + i), i));
  if (i < p.c) store_first(y + i, quotient(load_first(x + i, p.c - i), i), p.c - i);
}

int64_t workspace(const LocalResponseNormParams& p, int workers) { return scratch_floats(p) * workers; }

void run(const LocalResponseNormParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  float* squares = ptrs.workspace + scratch_floats(p) * worker.id;
  for (int64_t i = 0; i < scratch_floats(p); ++i) squares[i] = 0;
  for (int64_t i = rows.begin; i < rows.end; ++i) row(p, ptrs.x + i * p.ldx, ptrs.y + i * p.ldy, squares);
}

const char* why_not(const LocalResponseNormParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<LocalResponseNormParams> local_response_norm_rows{
    "local_response_norm_rows_" PYCNN_KERNEL_SUFFIX, why_not,   no_weights<LocalResponseNormParams>,
    pack_nothing<LocalResponseNormParams>,           workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
