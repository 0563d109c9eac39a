#include "base/cuda/pieces.h"
#include "ops/elementwise/cuda.h"

namespace pycnn::cuda {
template <class T>
struct Elementwise : NoWeights<ElementwiseParams> {
  using Type = T;
  struct Args {
    Pieces pieces;
    Rows x, y;
    Act act;
    float act_param;
  };

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    float v[kPiece<T>];
    load_rows<T>(a.x, p, v);
    activate(v, a.act, a.act_param);
    store_rows<T>(a.y, p, v);
  }

  static const char* why_not(const ElementwiseParams& p) { return too_many_pieces<T>(p.pixels, p.c); }

  static const char* launch(const ElementwiseParams& p, const Ptrs& ptrs, Stream stream) {
    const Args a{pieces<T>(p.pixels, p.c), rows_at<T>(ptrs.x, p.ldx), rows_at<T>(ptrs.y, p.ldy), p.act,
                 static_cast<float>(p.act_param)};
    return launch_pieces<Elementwise>(a, stream);
  }
};

PYCNN_CUDA_KERNELS(elementwise_pieces, ElementwiseParams, Elementwise, "elementwise_pieces")

}  // namespace pycnn::cuda
