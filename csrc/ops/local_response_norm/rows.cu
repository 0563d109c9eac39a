#include "base/cuda/pieces.h"
#include "ops/local_response_norm/cuda.h"

namespace pycnn::cuda {
template <class T>
struct LocalResponseNorm : NoWeights<LocalResponseNormParams> {
  using Type = T;
  struct Args {
    Pieces pieces;
    Rows x, y;
    int size;
    float scale, beta, k;  // scale: alpha / size
  };

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    const T* row = static_cast<const T*>(a.x.at) + p.row * a.x.ld;
    float v[kPiece<T>];
    load_rows<T>(a.x, p, v);
    const int first = p.channel - a.size / 2;
    float squares[kPiece<T>] = {};
    for (int j = 0; j < a.size + kPiece<T> - 1; ++j) {
      const int c = first + j;
      if (c < 0 || c >= a.pieces.c) continue;
      const float x = to_float(load(row + c));
#pragma unroll
      for (int e = 0; e < kPiece<T>; ++e)
        if (j >= e && j < e + a.size) squares[e] += x * x;
    }
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) v[e] /= powf(a.k + a.scale * squares[e], a.beta);
    store_rows<T>(a.y, p, v);
  }

  static const char* why_not(const LocalResponseNormParams& p) {
    if (p.size > 1 << 30) return "has a window of more than 2^30 channels";
    return too_many_pieces<T>(p.pixels, p.c);
  }

  static const char* launch(const LocalResponseNormParams& p, const Ptrs& ptrs, Stream stream) {
    const Args a{pieces<T>(p.pixels, p.c),
                 rows_at<T>(ptrs.x, p.ldx),
                 rows_at<T>(ptrs.y, p.ldy),
                 static_cast<int>(p.size),
                 static_cast<float>(p.alpha / static_cast<double>(p.size)),
                 static_cast<float>(p.beta),
                 static_cast<float>(p.k)};
    return launch_pieces<LocalResponseNorm>(a, stream);
  }
};

PYCNN_CUDA_KERNELS(local_response_norm_rows, LocalResponseNormParams, LocalResponseNorm, "local_response_norm_rows")

}  // namespace pycnn::cuda
