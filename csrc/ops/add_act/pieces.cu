#include "base/cuda/pieces.h"
#include "ops/add_act/cuda.h"

namespace pycnn::cuda {
template <class T>
struct AddAct : NoWeights<AddActParams> {
  using Type = T;
  struct Args {
    Pieces pieces;
    Rows x, residual, y;
    Act act;
    float act_param;
  };

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    float v[kPiece<T>], r[kPiece<T>];
    load_rows<T>(a.x, p, v);
    load_rows<T>(a.residual, p, r);
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) v[e] += r[e];
    activate(v, a.act, a.act_param);
    store_rows<T>(a.y, p, v);
  }

  static const char* why_not(const AddActParams& p) { return too_many_pieces<T>(p.pixels, p.c); }

  static const char* launch(const AddActParams& p, const Ptrs& ptrs, Stream stream) {
    const Args a{pieces<T>(p.pixels, p.c),
                 rows_at<T>(ptrs.x, p.ldx),
                 rows_at<T>(ptrs.residual, p.ldr),
                 rows_at<T>(ptrs.y, p.ldy),
                 p.act,
                 static_cast<float>(p.act_param)};
    return launch_pieces<AddAct>(a, stream);
  }
};

PYCNN_CUDA_KERNELS(add_act_pieces, AddActParams, AddAct, "add_act_pieces")

}  // namespace pycnn::cuda
