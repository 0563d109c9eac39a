#include "base/cuda/kernel.h"
#include "base/cuda/reduce.h"
#include "ops/layer_norm/cuda.h"

namespace pycnn::cuda {
constexpr int kThreads = 256;

struct LayerNormArgs {
  const void* x;
  const float *w, *bias;
  void* y;
  int64_t pixels, ldx, ldy;
  int c, wide_x, wide_y;
  float eps;
};

// A warp a row, which it reads three times: rows are short, and the second and third reading hit the cache.
template <class T>
PYCNN_GLOBAL(kThreads)
layer_norm_row(LayerNormArgs a) {
  wait_for_earlier();
  const int64_t row = block_x() * (kThreads / kLanes) + thread() / kLanes;
  if (row >= a.pixels) return;
  const T* x = static_cast<const T*>(a.x) + row * a.ldx;
  T* y = static_cast<T*>(a.y) + row * a.ldy;
  float sum = 0, squares = 0;
  row_pieces(x, a.c, a.wide_x, [&](int, int count, const float (&v)[kPiece<T>]) {
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) sum += e < count ? v[e] : 0.0f;
  });
  const float mean = warp_sum(sum) / static_cast<float>(a.c);
  row_pieces(x, a.c, a.wide_x, [&](int, int count, const float (&v)[kPiece<T>]) {
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) squares += e < count ? (v[e] - mean) * (v[e] - mean) : 0.0f;
  });
  const float scale = 1 / sqrtf(warp_sum(squares) / static_cast<float>(a.c) + a.eps);
  row_pieces(x, a.c, a.wide_x, [&](int channel, int count, float (&v)[kPiece<T>]) {
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) {
      if (e >= count) continue;
      v[e] =
          (v[e] - mean) * scale * (a.w ? load(a.w + channel + e) : 1.0f) + (a.bias ? load(a.bias + channel + e) : 0.0f);
    }
    store_piece(y + channel, count, a.wide_y && count == kPiece<T>, v);
  });
}

template <class T>
struct LayerNorm : ChannelWeights<LayerNormParams> {
  using Type = T;

  static const char* why_not(const LayerNormParams& p) {
    return p.c > 1 << 30 || p.pixels > 1ll << 33 ? "has more than 2^30 channels or 2^33 rows" : nullptr;
  }

  static const char* launch(const LayerNormParams& p, const Ptrs& ptrs, Stream stream) {
    if (p.pixels == 0) return nullptr;
    const LayerNormArgs a{ptrs.x,
                          static_cast<const float*>(ptrs.w),
                          ptrs.bias,
                          ptrs.y,
                          p.pixels,
                          p.ldx,
                          p.ldy,
                          static_cast<int>(p.c),
                          aligned16(ptrs.x) && p.ldx % kPiece<T> == 0,
                          aligned16(ptrs.y) && p.ldy % kPiece<T> == 0,
                          static_cast<float>(p.eps)};
    const int64_t rows = kThreads / kLanes;
    return cuda::launch<layer_norm_row<T>>({(p.pixels + rows - 1) / rows, 1}, kThreads, 0, stream, a);
  }
};

PYCNN_CUDA_KERNELS(layer_norm_rows, LayerNormParams, LayerNorm, "layer_norm_rows")

}  // namespace pycnn::cuda
