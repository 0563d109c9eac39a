#include "base/cuda/pieces.h"
#include "ops/arith/cuda.h"

namespace pycnn::cuda {
PYCNN_DEVICE float arith_combine(ArithKind kind, float x, float b) {
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
      return sqrtf(x + b);
    case ArithKind::kRsqrt:
      return 1 / sqrtf(x + b);
    default:
      return b / x;
  }
}

// b of one value a channel (bc = 1), of one value a row (bc = 0), or the scalar.
template <class T>
struct Arith : NoWeights<ArithParams> {
  using Type = T;
  struct Args {
    Pieces pieces;
    Rows x, y;
    const void* b;
    int64_t bn, bp;
    int pixels, bc, wide_b;
    float scalar;
    ArithKind kind;
    Act act;
    float act_param;
  };

  PYCNN_DEVICE static void other(const Args& a, const Piece& p, float (&b)[kPiece<T>]) {
    if (a.b == nullptr) return each(b, [&a](float) { return a.scalar; });
    const int row = static_cast<int>(p.row), image = row / a.pixels, pixel = row - image * a.pixels;
    const T* at = static_cast<const T*>(a.b) + image * a.bn + pixel * a.bp;
    if (a.bc) return load_piece(at + p.channel, p.count, a.wide_b && p.count == kPiece<T>, b);
    const float value = to_float(load(at));
    each(b, [value](float) { return value; });
  }

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    float v[kPiece<T>], b[kPiece<T>] = {};
    load_rows<T>(a.x, p, v);
    other(a, p, b);
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) v[e] = arith_combine(a.kind, v[e], b[e]);
    activate(v, a.act, a.act_param);
    store_rows<T>(a.y, p, v);
  }

  static const char* why_not(const ArithParams& p) { return too_many_pieces<T>(p.n * p.pixels, p.c); }

  static const char* launch(const ArithParams& p, const Ptrs& ptrs, Stream stream) {
    const void* b = ptrs.residual ? ptrs.residual : ptrs.w;
    const bool wide_b = aligned16(b) && p.bn % kPiece<T> == 0 && p.bp % kPiece<T> == 0;
    const Args a{pieces<T>(p.n * p.pixels, p.c),
                 rows_at<T>(ptrs.x, p.ldx),
                 rows_at<T>(ptrs.y, p.ldy),
                 b,
                 p.bn,
                 p.bp,
                 static_cast<int>(p.pixels),
                 static_cast<int>(p.bc),
                 wide_b,
                 static_cast<float>(p.scalar),
                 p.kind,
                 p.act,
                 static_cast<float>(p.act_param)};
    return launch_pieces<Arith>(a, stream);
  }
};

PYCNN_CUDA_KERNELS(arith_pieces, ArithParams, Arith, "arith_pieces")

}  // namespace pycnn::cuda
