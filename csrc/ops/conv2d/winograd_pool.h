// One tile of Winograd's convolution, its outputs pooled by 2 x 2 windows side by side: every window is of one tile, and
// its four outputs stay in registers.
#pragma once
#include "ops/conv2d/pool.h"
#include "ops/conv2d/winograd_tile.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Windows of a tile: `down` x `across` of them have results, `rows` x `columns` outputs lie in the map.
struct WindowsAt {
  int64_t down, across, rows, columns;
  Element* y;
  int64_t line, column;  // elements from one result to the next
};

// `count` channels, all lanes of the last vector or, with Some, as many as are left; Some: also of tiles at the map's end.
template <class W, int M, int kIn, bool Some>
void put_pooled(const WindowsAt& at, const float* bias, TileProducts from, int64_t count, Vec lo, Vec hi) {
  constexpr int kWindows = M / 2;
  for (int64_t c = 0; c < count; c += kLanes) {
    const int64_t left = count - c;
    const bool whole = !Some || left >= kLanes;
    Vec most[kWindows][kWindows] = {};
    const auto put = [&](int i, int j, Vec v) __attribute__((always_inline)) {
      if (Some && (i >= at.rows || j >= at.columns)) return;
      Vec& of = most[i / 2][j / 2];
      of = i % 2 + j % 2 ? max_nan(v, of) : v;
    };
    output_parts<W, M, kIn>(from.m + c, from.point, put);
    const Vec b = !bias ? Vec{} : whole ? load(bias + c) : load_first(bias + c, left);
    for (int i = 0; i < kWindows; ++i)
      for (int j = 0; j < kWindows; ++j) {
        if (Some && (i >= at.down || j >= at.across)) continue;
        const Vec v = at_most(at_least(most[i][j] + b, lo), hi);
        Element* y = at.y + i * at.line + j * at.column + c;
        if (whole)
          store(y, v);
        else
          store_first(y, v, left);
      }
  }
}

// Pooled pixels of one tile, `count` channels from k on: the largest of A^T m A in each window, + bias, clamped.
template <int M, int R>
void pool_output(const ConvPoolParams& p, const Ptrs& ptrs, TileAt at, TileProducts m, int64_t k, int64_t count) {
  using W = Winograd<M, R>;
  constexpr int kIn = M + R - 1;
  const auto within = [](int64_t left, int64_t most) { return left < most ? left : most; };
  const int64_t y = at.y / 2, x = at.x / 2;
  const WindowsAt to{within(p.pooled_h - y, M / 2),
                     within(p.pooled_w - x, M / 2),
                     within(p.conv.oh - at.y, M),
                     within(p.conv.ow - at.x, M),
                     ptrs.y + ((at.n * p.pooled_h + y) * p.pooled_w + x) * p.conv.ldy + k,
                     p.pooled_w * p.conv.ldy,
                     p.conv.ldy};
  const float* const bias = ptrs.bias ? ptrs.bias + k : nullptr;
  const Vec lo = broadcast(clamp_lo(p.conv.act)), hi = broadcast(clamp_hi(p.conv.act));
  if (to.rows < M || to.columns < M || count % kLanes != 0)
    put_pooled<W, M, kIn, true>(to, bias, m, count, lo, hi);
  else
    put_pooled<W, M, kIn, false>(to, bias, m, count, lo, hi);
}

}  // namespace
}  // namespace pycnn::PYCNN_ISA_NS
