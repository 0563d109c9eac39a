#include "base/cuda/kernel.h"
#include "base/cuda/reduce.h"
#include "ops/global_pool/cuda.h"

namespace pycnn::cuda {
constexpr int kThreads = 256;

struct GlobalMeanArgs {
  const void* x;
  void* y;
  int64_t ldx, ldy;
  int n, pixels, c, wide_x, wide_y;
  int across;  // pieces a block takes of a row, a power of two; kThreads / across threads share the pixels of each
  int chunks;  // blocks an image
};

// Each thread sums every kThreads / across-th pixel of its piece; the sums are added in pairs in shared memory.
template <class T>
PYCNN_GLOBAL(kThreads)
global_mean(GlobalMeanArgs a) {
  wait_for_earlier();
  const int image = static_cast<int>(block_x()) / a.chunks, chunk = static_cast<int>(block_x()) % a.chunks;
  const int piece = thread() % a.across, part = thread() / a.across, parts = kThreads / a.across;
  const int channel = (chunk * a.across + piece) * kPiece<T>;
  const int left = a.c - channel, count = left < kPiece<T> ? left : kPiece<T>;
  float sum[kPiece<T>] = {}, v[kPiece<T>];
  if (count > 0)
    for (int pixel = part; pixel < a.pixels; pixel += parts) {
      const int64_t row = static_cast<int64_t>(image) * a.pixels + pixel;
      load_piece(static_cast<const T*>(a.x) + row * a.ldx + channel, count, a.wide_x && count == kPiece<T>, v);
#pragma unroll
      for (int e = 0; e < kPiece<T>; ++e) sum[e] += v[e];
    }
  sum_of_parts<kThreads>(sum, a.across);
  if (part > 0 || count <= 0) return;
  const float scale = 1 / static_cast<float>(a.pixels);
  each(sum, [scale](float s) { return s * scale; });
  store_piece(static_cast<T*>(a.y) + image * a.ldy + channel, count, a.wide_y && count == kPiece<T>, sum);
}

template <class T>
struct GlobalMean : NoWeights<GlobalPoolParams> {
  using Type = T;

  static int64_t pieces(const GlobalPoolParams& p) { return (p.c + kPiece<T> - 1) / kPiece<T>; }

  static const char* why_not(const GlobalPoolParams& p) {
    constexpr int64_t kMost = 1 << 30;
    return p.pixels() > kMost || p.c > kMost || p.n * pieces(p) > kMost ? "has more than 2^30 pixels or channels"
                                                                        : nullptr;
  }

  static const char* launch(const GlobalPoolParams& p, const Ptrs& ptrs, Stream stream) {
    if (p.n * p.c == 0) return nullptr;
    int across = 1;  // at most a warp: more threads then share the pixels
    while (across < kLanes && across < pieces(p)) across *= 2;
    const int64_t chunks = (pieces(p) + across - 1) / across;
    const GlobalMeanArgs a{ptrs.x,
                           ptrs.y,
                           p.ldx,
                           p.ldy,
                           static_cast<int>(p.n),
                           static_cast<int>(p.pixels()),
                           static_cast<int>(p.c),
                           aligned16(ptrs.x) && p.ldx % kPiece<T> == 0,
                           aligned16(ptrs.y) && p.ldy % kPiece<T> == 0,
                           across,
                           static_cast<int>(chunks)};
    const int shared_bytes = kThreads * kPiece<T> * static_cast<int>(sizeof(float));
    return cuda::launch<global_mean<T>>({p.n * chunks, 1}, kThreads, shared_bytes, stream, a);
  }
};

PYCNN_CUDA_KERNELS(global_pool_mean, GlobalPoolParams, GlobalMean, "global_pool_mean")

}  // namespace pycnn::cuda
