// Arithmetic with a broadcast operand: y[n, i, c] = act(x[n, i, c] o b[n, i, c]) over n images of `pixels` rows of c floats,
// o being +, -, *, /, - or / with the operands exchanged, or prelu: x where x > 0, else b * x; the larger of both
// (NaN if one is); the square root of x + b, or one over it. The gate of squeeze-and-excitation is "mul" with a b that
// does not depend on i.
//
// x, y: rows ldx, ldy apart, images without gaps between them; y may be x's own memory, ldy being ldx. b = residual if
// that is not null, else w: b[n, i, c] lies at n * bn + i * bp + c * bc, bc 0 or 1, so that a stride of 0 repeats it. With
// both null b is `scalar`.
#pragma once
#include "base/act.h"
#include "base/kernel.h"

namespace pycnn {

// The numbers are part of the Python interface (pycnn/ops/arith.py).
enum class ArithKind : int64_t {
  kAdd = 0,
  kSub = 1,
  kMul = 2,
  kDiv = 3,
  kRsub = 4,
  kRdiv = 5,
  kPrelu = 6,
  kMax = 7,
  kSqrt = 8,
  kRsqrt = 9
};
inline constexpr int64_t kArithKindCount = 10;

struct ArithParams {
  int64_t n = 1, pixels = 1, c = 1;
  int64_t ldx = 0, ldy = 0;
  int64_t bn = 0, bp = 0, bc = 0;
  ArithKind kind = ArithKind::kAdd;
  double scalar = 0;
  Act act = Act::kNone;
  double act_param = 0;
};

template <class Visit>
void visit_fields(ArithParams& p, Visit&& field) {
  field("n", p.n), field("pixels", p.pixels), field("c", p.c), field("ldx", p.ldx), field("ldy", p.ldy);
  field("bn", p.bn), field("bp", p.bp), field("bc", p.bc), field("kind", p.kind), field("scalar", p.scalar);
  field("act", p.act), field("act_param", p.act_param);
}

using ArithKernel = Kernel<ArithParams>;
KernelList<ArithParams> arith_kernels();

}  // namespace pycnn
