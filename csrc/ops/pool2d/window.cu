#include "base/cuda/pieces.h"
#include "base/cuda/reduce.h"
#include "ops/pool2d/cuda.h"
#include "ops/pool2d/taps.h"

namespace pycnn::cuda {
inline PoolAxisOf<int> pool_axis_narrow(const PoolAxis& a) {
  return {static_cast<int>(a.size),
          static_cast<int>(a.out),
          static_cast<int>(a.k),
          static_cast<int>(a.stride),
          static_cast<int>(a.pad),
          static_cast<int>(a.dilation),
          a.adaptive,
          a.count_pad};
}

struct Pool2dArgs {
  Pieces pieces;
  Rows x, y;
  PoolAxisOf<int> rows, columns;
  int dh, dw, divisor;  // divisor: 0, from the windows
};

template <class T, bool kMax>
struct Pool2dPiece {
  using Type = T;
  using Args = Pool2dArgs;

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    const int pixel = static_cast<int>(p.row), line = pixel / a.columns.out, image = line / a.rows.out;
    const PoolTapsOf<int> rows = pool_taps(a.rows, line - image * a.rows.out);
    const PoolTapsOf<int> columns = pool_taps(a.columns, pixel - line * a.columns.out);
    const float scale =
        kMax ? 1 : reciprocal(static_cast<float>(a.divisor != 0 ? a.divisor : rows.divisor * columns.divisor));
    float v[kPiece<T>], x[kPiece<T>];
    each(v, [](float) { return kMax ? -INFINITY : 0.0f; });
    for (int i = 0; i < rows.count; ++i)
      for (int j = 0; j < columns.count; ++j) {
        const int64_t y = image * a.rows.size + rows.first + i * a.dh;
        load_rows<T>(a.x, {y * a.columns.size + columns.first + j * a.dw, p.channel, p.count}, x);
#pragma unroll
        for (int e = 0; e < kPiece<T>; ++e) v[e] = kMax ? larger(v[e], x[e]) : v[e] + x[e];
      }
    if (!kMax && rows.count * columns.count > 0) each(v, [scale](float sum) { return sum * scale; });
    store_rows<T>(a.y, p, v);
  }
};

template <class T>
struct Pool2d : NoWeights<Pool2dParams> {
  using Type = T;

  static const char* why_not(const Pool2dParams& p) {
    constexpr int64_t kMost = 1 << 30;
    if (p.n * p.h * p.w > kMost || (p.oh + 1) * p.h > kMost || (p.ow + 1) * p.w > kMost)
      return "has more than 2^30 pixels";
    if (p.kh * p.kw > kMost || p.divisor_override > kMost) return "has a window of more than 2^30 pixels";
    return too_many_pieces<T>(p.n * p.oh * p.ow, p.c);
  }

  static const char* launch(const Pool2dParams& p, const Ptrs& ptrs, Stream stream) {
    const Pool2dArgs a{pieces<T>(p.n * p.oh * p.ow, p.c),
                       rows_at<T>(ptrs.x, p.ldx),
                       rows_at<T>(ptrs.y, p.ldy),
                       pool_axis_narrow(pool_rows(p)),
                       pool_axis_narrow(pool_columns(p)),
                       static_cast<int>(p.adaptive() ? 1 : p.dh),
                       static_cast<int>(p.adaptive() ? 1 : p.dw),
                       static_cast<int>(p.adaptive() ? 0 : p.divisor_override)};
    return p.max() ? launch_pieces<Pool2dPiece<T, true>>(a, stream) : launch_pieces<Pool2dPiece<T, false>>(a, stream);
  }
};

PYCNN_CUDA_KERNELS(pool2d_window, Pool2dParams, Pool2d, "pool2d_window")

}  // namespace pycnn::cuda
