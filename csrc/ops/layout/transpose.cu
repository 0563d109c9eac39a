#include "base/cuda/elements.h"
#include "base/cuda/kernel.h"
#include "ops/layout/cuda.h"

namespace pycnn::cuda {
constexpr int kThreads = 256;
constexpr int kTile = 32;
constexpr int kTileLd = kTile + 1;  // off the multiples of the banks
constexpr int kNarrow = 8;          // so many channels are not worth a tile: a thread has all of a pixel

struct LayoutArgs {
  const void* x;
  void* y;
  int64_t ld, images, pixels;
  int c, to_nchw;
  int64_t across, down;  // tiles of pixels and of channels; of the narrow kernel: blocks an image, 1
};

// Bits are moved as they are.
template <class T>
PYCNN_DEVICE void layout_move(const LayoutArgs& a, int64_t nchw, int64_t nhwc) {
  const T* x = static_cast<const T*>(a.x);
  T* y = static_cast<T*>(a.y);
  if (a.to_nchw) {
    store(y + nchw, load(x + nhwc));
  } else {
    store(y + nhwc, load(x + nchw));
  }
}

template <class T>
PYCNN_GLOBAL(kThreads)
layout_narrow(LayoutArgs a) {
  wait_for_earlier();
  const int64_t image = block_x() / a.across, pixel = block_x() % a.across * kThreads + thread();
  if (pixel >= a.pixels) return;
  for (int c = 0; c < a.c; ++c)
    layout_move<T>(a, (image * a.c + c) * a.pixels + pixel, (image * a.pixels + pixel) * a.ld + c);
}

// A tile of 32 pixels x 32 channels through shared memory: rows of it are read along memory on one side, columns on the
// other.
template <class T>
PYCNN_GLOBAL(kThreads)
layout_tile(LayoutArgs a) {
  wait_for_earlier();
  const int64_t tile = block_x() % (a.across * a.down), image = block_x() / (a.across * a.down);
  const int64_t first_pixel = tile % a.across * kTile, first_channel = tile / a.across * kTile;
  T* rows = reinterpret_cast<T*>(shared());
  const int lane = thread() % kTile, group = thread() / kTile;
  // memory(i, j) of the side whose adjacent index is j: pixels of NCHW, channels of NHWC.
  const auto inside = [&](bool nchw, int i, int j) {
    const int64_t pixel = first_pixel + (nchw ? j : i), channel = first_channel + (nchw ? i : j);
    return pixel < a.pixels && channel < a.c;
  };
  const auto at = [&](bool nchw, int i, int j) {
    const int64_t pixel = first_pixel + (nchw ? j : i), channel = first_channel + (nchw ? i : j);
    return nchw ? (image * a.c + channel) * a.pixels + pixel : (image * a.pixels + pixel) * a.ld + channel;
  };
#pragma unroll
  for (int i = group; i < kTile; i += kThreads / kTile)
    if (inside(!a.to_nchw, i, lane))
      shared_store(rows + i * kTileLd + lane, load(static_cast<const T*>(a.x) + at(!a.to_nchw, i, lane)));
  sync();
#pragma unroll
  for (int i = group; i < kTile; i += kThreads / kTile)
    if (inside(a.to_nchw, i, lane))
      store(static_cast<T*>(a.y) + at(a.to_nchw, i, lane), shared_load(rows + lane * kTileLd + i));
}

template <class T>
struct Layout : NoWeights<LayoutParams> {
  using Type = T;

  static const char* why_not(const LayoutParams& p) {
    constexpr int64_t kMost = 1 << 30;
    return p.c > kMost || p.n * ((p.pixels + kTile - 1) / kTile) * ((p.c + kTile - 1) / kTile) > kMost
               ? "has more than 2^30 tiles of 32 pixels and 32 channels"
               : nullptr;
  }

  static const char* launch(const LayoutParams& p, const Ptrs& ptrs, Stream stream) {
    if (p.n * p.pixels * p.c == 0) return nullptr;
    const int64_t step = p.c <= kNarrow ? kThreads : kTile;
    const int64_t down = p.c <= kNarrow ? 1 : (p.c + kTile - 1) / kTile;
    const LayoutArgs a{ptrs.x,
                       ptrs.y,
                       p.ld,
                       p.n,
                       p.pixels,
                       static_cast<int>(p.c),
                       static_cast<int>(p.to_nchw),
                       (p.pixels + step - 1) / step,
                       down};
    const Grid grid{p.n * a.across * a.down, 1};
    if (p.c <= kNarrow) return cuda::launch<layout_narrow<T>>(grid, kThreads, 0, stream, a);
    return cuda::launch<layout_tile<T>>(grid, kThreads, kTile * kTileLd * static_cast<int>(sizeof(T)), stream, a);
  }
};

PYCNN_CUDA_KERNELS(layout_transpose, LayoutParams, Layout, "layout_transpose")

}  // namespace pycnn::cuda
