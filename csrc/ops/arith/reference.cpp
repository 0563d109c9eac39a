#include <cmath>

#include "base/act_reference.h"
#include "ops/arith/simd.h"

namespace pycnn {
namespace {

double apply(ArithKind kind, double x, double b) {
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
      return x > 0 ? x : b * x;
    case ArithKind::kMax:
      return x > b || x != x ? x : b;
    case ArithKind::kSqrt:
      return std::sqrt(x + b);
    case ArithKind::kRsqrt:
      return 1 / std::sqrt(x + b);
    default:
      return b / x;
  }
}

void run(const ArithParams& p, const Ptrs& ptrs, Worker worker) {
  const float* b = ptrs.residual ? ptrs.residual : ptrs.w;
  const Range rows = share(p.n * p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t c = 0; c < p.c; ++c) {
      const double other = b ? b[i / p.pixels * p.bn + i % p.pixels * p.bp + c * p.bc] : float(p.scalar);
      const double made = apply(p.kind, ptrs.x[i * p.ldx + c], other);
      ptrs.y[i * p.ldy + c] = static_cast<float>(act_reference(made, p.act, p.act_param));
    }
}

const char* why_not(const ArithParams&, const Machine&) { return nullptr; }

}  // namespace

const ArithKernel arith_reference{
    "arith_reference", why_not, no_weights<ArithParams>, pack_nothing<ArithParams>, no_workspace<ArithParams>, run};

}  // namespace pycnn
