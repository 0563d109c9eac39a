#include "base/cuda/pieces.h"
#include "ops/concat/cuda.h"

namespace pycnn::cuda {
// A copy through fp32 keeps every bit that counts: NaN stays NaN.
template <class T>
struct Concat : NoWeights<ConcatParams> {
  using Type = T;
  struct Args {
    Pieces pieces;
    Rows x, y;
  };

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    float v[kPiece<T>];
    load_rows<T>(a.x, p, v);
    store_rows<T>(a.y, p, v);
  }

  static const char* why_not(const ConcatParams& p) { return too_many_pieces<T>(p.pixels, p.c); }

  static const char* launch(const ConcatParams& p, const Ptrs& ptrs, Stream stream) {
    const Args a{pieces<T>(p.pixels, p.c), rows_at<T>(ptrs.x, p.ldx), rows_at<T>(ptrs.y, p.ldy)};
    return launch_pieces<Concat>(a, stream);
  }
};

PYCNN_CUDA_KERNELS(concat_pieces, ConcatParams, Concat, "concat_pieces")

}  // namespace pycnn::cuda
