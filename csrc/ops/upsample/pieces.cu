#include "base/cuda/pieces.h"
#include "ops/upsample/cuda.h"

namespace pycnn::cuda {
template <class T>
struct Upsample : NoWeights<UpsampleParams> {
  using Type = T;
  struct Args {
    Pieces pieces;
    Rows x, y;
    int h, w, oh, ow;
    double step_h, step_w;
    UpsampleMode mode;
  };

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    const int pixel = static_cast<int>(p.row), line = pixel / a.ow, image = line / a.oh;
    const int oy = line - image * a.oh, ox = pixel - line * a.ow;
    const int64_t first = static_cast<int64_t>(image) * a.h;
    float v[kPiece<T>];
    if (a.mode == UpsampleMode::kNearest) {
      const int64_t y = first + upsample_nearest(oy, a.h, static_cast<float>(a.step_h));
      load_rows<T>(a.x, {y * a.w + upsample_nearest(ox, a.w, static_cast<float>(a.step_w)), p.channel, p.count}, v);
    } else {
      blend(a, p, upsample_tap(a.mode, oy, a.h, a.step_h), upsample_tap(a.mode, ox, a.w, a.step_w), first, v);
    }
    store_rows<T>(a.y, p, v);
  }

  PYCNN_DEVICE static void blend(const Args& a, const Piece& p, const UpsampleTap& y, const UpsampleTap& x,
                                 int64_t first, float (&v)[kPiece<T>]) {
    const float weight[4] = {(1 - y.weight) * (1 - x.weight), (1 - y.weight) * x.weight, y.weight * (1 - x.weight),
                             y.weight * x.weight};
    each(v, [](float) { return 0.0f; });
    float corner[kPiece<T>];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t line = first + (i < 2 ? y.low : y.high);
      load_rows<T>(a.x, {line * a.w + (i % 2 == 0 ? x.low : x.high), p.channel, p.count}, corner);
#pragma unroll
      for (int e = 0; e < kPiece<T>; ++e) v[e] += weight[i] * corner[e];
    }
  }

  static const char* why_not(const UpsampleParams& p) {
    if (p.y_nchw) return "writes NHWC";
    if (p.n * p.h * p.w > 1 << 30) return "has more than 2^30 pixels";
    return too_many_pieces<T>(p.n * p.oh * p.ow, p.c);
  }

  static const char* launch(const UpsampleParams& p, const Ptrs& ptrs, Stream stream) {
    const Args a{pieces<T>(p.n * p.oh * p.ow, p.c),
                 rows_at<T>(ptrs.x, p.ldx),
                 rows_at<T>(ptrs.y, p.ldy),
                 static_cast<int>(p.h),
                 static_cast<int>(p.w),
                 static_cast<int>(p.oh),
                 static_cast<int>(p.ow),
                 upsample_step(p.mode, p.h, p.oh, p.factor_h),
                 upsample_step(p.mode, p.w, p.ow, p.factor_w),
                 p.mode};
    return launch_pieces<Upsample>(a, stream);
  }
};

PYCNN_CUDA_KERNELS(upsample_pieces, UpsampleParams, Upsample, "upsample_pieces")

}  // namespace pycnn::cuda
