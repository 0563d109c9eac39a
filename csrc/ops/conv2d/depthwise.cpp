// One filter a channel (groups == c == k): vectors run over channels, a tile is kPixels outputs of one row.
#include "ops/conv2d/depthwise.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int kPixels = 6;

int64_t padded_c(const Conv2dParams& p) { return panels_of(p.c) * kLanes; }

int64_t packed_size(const Conv2dParams& p) { return p.kh * p.kw * padded_c(p); }

// [i][j][c], channels padded to whole vectors with zeros.
void pack(const Conv2dParams& p, const float* w, float* packed) {
  for (int64_t t = 0; t < p.kh * p.kw; ++t)
    for (int64_t c = 0; c < padded_c(p); ++c) packed[t * padded_c(p) + c] = c < p.c ? w[c * p.kh * p.kw + t] : 0.0f;
}

// Outputs ox0 .. ox0+P of row (n, oy), channels c .. c+left.
template <int P>
void tile(const Conv2dParams& p, const Ptrs& ptrs, int64_t n, int64_t oy, int64_t ox0, int64_t c, int64_t left) {
  const bool whole = left >= kLanes;
  const auto get = [&](const auto* at)
                       __attribute__((always_inline)) { return whole ? load(at) : load_first(at, left); };
  Vec acc[P];
  const Vec bias = ptrs.bias ? get(ptrs.bias + c) : Vec{};
#pragma GCC unroll 8
  for (int q = 0; q < P; ++q) acc[q] = bias;
  for (int64_t i = 0; i < p.kh; ++i) {
    const int64_t y = oy * p.sh - p.ph + i * p.dh;
    if (y < 0 || y >= p.h) continue;
    const Element* line = ptrs.x + (n * p.h + y) * p.w * p.ldx + c;
    const float* w = ptrs.w + i * p.kw * padded_c(p) + c;
    for (int64_t j = 0; j < p.kw; ++j, w += padded_c(p)) {
      const Vec f = load(w);
      const int64_t x0 = ox0 * p.sw - p.pw + j * p.dw;
      if (x0 >= 0 && x0 + (P - 1) * p.sw < p.w && whole) {
        const Element* at = line + x0 * p.ldx;
#pragma GCC unroll 8
        for (int q = 0; q < P; ++q) acc[q] += f * load(at + q * p.sw * p.ldx);
      } else {
#pragma GCC unroll 8
        for (int q = 0; q < P; ++q) {
          const int64_t x = x0 + q * p.sw;
          if (x >= 0 && x < p.w) acc[q] += f * get(line + x * p.ldx);
        }
      }
    }
  }
  const int64_t pixel = (n * p.oh + oy) * p.ow + ox0;
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
#pragma GCC unroll 8
  for (int q = 0; q < P; ++q) {
    Vec v = acc[q];
    if (ptrs.residual) v += get(ptrs.residual + (pixel + q) * p.ldr + c);
    v = at_most(at_least(v, lo), hi);
    Element* y = ptrs.y + (pixel + q) * p.ldy + c;
    if (whole)
      store(y, v);
    else
      store_first(y, v, left);
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.n * p.oh, worker);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const int64_t n = row / p.oh, oy = row % p.oh;
    int64_t ox = 0;
    for (; ox + kPixels <= p.ow; ox += kPixels)
      for (int64_t c = 0; c < p.c; c += kLanes) tile<kPixels>(p, ptrs, n, oy, ox, c, p.c - c);
    for (; ox < p.ow; ++ox)
      for (int64_t c = 0; c < p.c; c += kLanes) tile<1>(p, ptrs, n, oy, ox, c, p.c - c);
    finish_row(p, ptrs, row, {0, p.c});
  }
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_depthwise{
    "conv2d_depthwise_" PYCNN_KERNEL_SUFFIX, why_not_depthwise, packed_size, pack, no_workspace<Conv2dParams>, run};

}  // namespace pycnn::PYCNN_ISA_NS
