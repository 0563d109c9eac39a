#include "base/cuda/kernel.h"
#include "base/cuda/reduce.h"
#include "ops/softmax/cuda.h"

namespace pycnn::cuda {
constexpr int kThreads = 256;

struct SoftmaxArgs {
  const void* x;
  void* y;
  int64_t pixels, ldx, ldy;
  int c, wide_x, wide_y;
};

// A warp a row, which it reads three times: the second and third reading hit the cache.
template <class T>
PYCNN_GLOBAL(kThreads)
softmax_row(SoftmaxArgs a) {
  wait_for_earlier();
  const int64_t row = block_x() * (kThreads / kLanes) + thread() / kLanes;
  if (row >= a.pixels) return;
  const T* x = static_cast<const T*>(a.x) + row * a.ldx;
  T* y = static_cast<T*>(a.y) + row * a.ldy;
  float most = -INFINITY, sum = 0;
  row_pieces(x, a.c, a.wide_x, [&](int, int count, const float (&v)[kPiece<T>]) {
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e)
      if (e < count) most = larger(most, v[e]);
  });
  most = warp_max(most);
  row_pieces(x, a.c, a.wide_x, [&](int, int count, const float (&v)[kPiece<T>]) {
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) sum += e < count ? expf(v[e] - most) : 0.0f;
  });
  const float scale = 1 / warp_sum(sum);
  row_pieces(x, a.c, a.wide_x, [&](int channel, int count, float (&v)[kPiece<T>]) {
    each(v, [most, scale](float e) { return expf(e - most) * scale; });
    store_piece(y + channel, count, a.wide_y && count == kPiece<T>, v);
  });
}

template <class T>
struct Softmax : NoWeights<SoftmaxParams> {
  using Type = T;

  static const char* why_not(const SoftmaxParams& p) {
    return p.c > 1 << 30 || p.pixels > 1ll << 33 ? "has more than 2^30 channels or 2^33 rows" : nullptr;
  }

  static const char* launch(const SoftmaxParams& p, const Ptrs& ptrs, Stream stream) {
    if (p.pixels == 0) return nullptr;
    const SoftmaxArgs a{ptrs.x,
                        ptrs.y,
                        p.pixels,
                        p.ldx,
                        p.ldy,
                        static_cast<int>(p.c),
                        aligned16(ptrs.x) && p.ldx % kPiece<T> == 0,
                        aligned16(ptrs.y) && p.ldy % kPiece<T> == 0};
    const int64_t rows = kThreads / kLanes;
    return cuda::launch<softmax_row<T>>({(p.pixels + rows - 1) / rows, 1}, kThreads, 0, stream, a);
  }
};

PYCNN_CUDA_KERNELS(softmax_rows, SoftmaxParams, Softmax, "softmax_rows")

}  // namespace pycnn::cuda
