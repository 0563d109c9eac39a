// Tiles of kTile pixels x kTile channels, so that both sides are walked by whole cache lines.
#include "base/simd/transpose.h"
#include "ops/layout/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kTile = 16;

void run(const LayoutParams& p, const Ptrs& ptrs, Worker worker) {
  const int64_t blocks = (p.pixels + kTile - 1) / kTile;
  const Range mine = share(p.n * blocks, worker);
  for (int64_t item = mine.begin; item < mine.end; ++item) {
    const int64_t n = item / blocks, pixel = item % blocks * kTile;
    const int64_t count = p.pixels - pixel < kTile ? p.pixels - pixel : kTile;
    for (int64_t c = 0; c < p.c; c += kTile) {
      const int64_t channels = p.c - c < kTile ? p.c - c : kTile;
      const int64_t nchw = (n * p.c + c) * p.pixels + pixel, nhwc = (n * p.pixels + pixel) * p.ld + c;
      if (p.to_nchw)
        transpose(ptrs.x + nhwc, p.ld, ptrs.y + nchw, p.pixels, channels, count);
      else
        transpose(ptrs.x + nchw, p.pixels, ptrs.y + nhwc, p.ld, count, channels);
    }
  }
}

const char* why_not(const LayoutParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<LayoutParams> layout_transpose{"layout_transpose_" PYCNN_KERNEL_SUFFIX,
                                                     why_not,
                                                     no_weights<LayoutParams>,
                                                     pack_nothing<LayoutParams>,
                                                     no_workspace<LayoutParams>,
                                                     run};

}  // namespace pycnn::PYCNN_ISA_NS
