#include "base/simd/gemm.h"

#include "base/simd/activate.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Steps of depth at once, so that a row pointer kept in memory costs a quarter of a load.
constexpr int kUnroll = 4;
// So many of the tiles that pass over the same panels share in asking for the next ones: lines are then asked for at the
// pace at which memory gives them (ResNet-18 at batch 1 on a Zen 5: 3 % over asking for all of them under the first tile).
constexpr int kMostTurns = 4;

template <class E, class Y, int MR, int NV>
void tile_mn(const TileOf<E, Y>& t) {
  using P = Products<E>;
  constexpr int64_t kStep = P::kStep;
  Vec acc[MR][NV];
  clear(acc);
  const E* w = t.w;
  const int64_t depth = whole_steps<E>(t.depth);
  // The next panels are asked for, by each of the tiles that pass over these a part of their rows: a network's weights come
  // from memory, in runs too short for the hardware to be ahead (7 to 17 % of ResNet, DenseNet, MobileNet and GoogLeNet at
  // batch 1 on a Zen 5). Behind the last panel nothing is read. Of tiles of few rows, which read four or eight panels at the
  // speed of memory, the hardware is ahead, and lines asked for twice only cost (AlexNet and VGG-16 at batch 1: 2 %).
  const int shares = t.turns < 1 ? 1 : t.turns < kMostTurns ? t.turns : kMostTurns;
  const bool asks = NV <= 2 && t.turn < shares;
  const int64_t stride = (kStep * kLanes + shares - 1) / shares;
  const E* ahead = t.w + NV * t.panel + t.turn * (t.panel / shares);
  const auto step = [&](const E* const* a, int64_t c, auto get) __attribute__((always_inline)) {
    typename P::Factor b[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) b[j] = P::factors(w + j * t.panel);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const typename P::Factor x = get(a[r] + c);
#pragma GCC unroll 8
      for (int j = 0; j < NV; ++j) acc[r][j] = P::multiply_add(acc[r][j], x, b[j]);
    }
    w += kStep * kLanes;
  };
  const auto whole = [](const E* x) __attribute__((always_inline)) { return P::spread(x); };
  for (int64_t tap = 0; tap < t.taps; ++tap) {
    const E* const* a = t.rows + tap * MR;
    w = t.w + (t.live ? t.live[tap] : tap) * depth * kLanes;
    int64_t c = t.first;
    const int64_t end = t.first + t.depth;
    for (; c + kUnroll * kStep <= end; c += kUnroll * kStep) {
      // A branch of its own: prefetches that ask for nothing new cost a Xeon (family 6, model 167) 12 % of its multiply rate.
      if (asks) {
#pragma GCC unroll 4
        for (int u = 0; u < kUnroll; ++u, ahead += stride)
#pragma GCC unroll 8
          for (int j = 0; j < NV; ++j) __builtin_prefetch(ahead + j * t.panel, 0, 2);
      }
#pragma GCC unroll 4
      for (int u = 0; u < kUnroll; ++u) step(a, c + u * kStep, whole);
    }
    for (; c + kStep <= end; c += kStep) step(a, c, whole);
    if constexpr (kStep > 1) {
      if (c < end) step(a, c, [](const E* x) __attribute__((always_inline)) { return P::spread_last(x); });
    }
  }
  finish(acc, t);
}

template <class E, class Y, int NV>
TileFn<E, Y> rows_of(int mr) {
  constexpr int most = NV <= 2 ? kMaxRows : NV == 4 ? (kLanes == 16 ? 6 : 2) : (kLanes == 16 ? 3 : 1);
#define PYCNN_ROWS(m)              \
  case m:                          \
    if constexpr (m <= most)       \
      return tile_mn<E, Y, m, NV>; \
    else                           \
      return nullptr;
  switch (mr) {
    PYCNN_ROWS(1)
    PYCNN_ROWS(2)
    PYCNN_ROWS(3)
    PYCNN_ROWS(4)
    PYCNN_ROWS(5)
    PYCNN_ROWS(6)
    PYCNN_ROWS(7)
    PYCNN_ROWS(8)
    PYCNN_ROWS(9)
    PYCNN_ROWS(10)
    PYCNN_ROWS(11)
    PYCNN_ROWS(12)
    PYCNN_ROWS(13)
    PYCNN_ROWS(14)
    default:
      return nullptr;
  }
#undef PYCNN_ROWS
}

}  // namespace

template <class E, class Y>
TileFn<E, Y> tile_fn(int mr, int nv) {
  switch (nv) {
    case 8:
      return rows_of<E, Y, 8>(mr);
    case 4:
      return rows_of<E, Y, 4>(mr);
    case 2:
      return rows_of<E, Y, 2>(mr);
    default:
      return rows_of<E, Y, 1>(mr);
  }
}

template <class E, class Y>
void run_products(const TileOf<E, Y>& whole, int mr, int64_t first, int64_t last) {
  TileOf<E, Y> t = whole;
  int nv = 0;
  TileFn<E, Y> fn = nullptr;
  for (int64_t p = first; p < last; p += nv) {
    if (const int width = tile_width(mr, last - p); width != nv) fn = tile_fn<E, Y>(mr, nv = width);
    const int64_t k0 = p * kLanes;
    t.w = whole.w + p * whole.panel;
    t.bias = whole.bias ? whole.bias + k0 : nullptr;
    t.residual = whole.residual ? whole.residual + k0 : nullptr;
    t.y = whole.y + k0;
    t.n = whole.n - k0 < nv * kLanes ? whole.n - k0 : nv * kLanes;
    fn(t);
  }
}

template TileFn<float> tile_fn<float>(int mr, int nv);
template void run_products(const TileOf<float>&, int, int64_t, int64_t);
#if defined(PYCNN_BF16)
template TileFn<Bf16> tile_fn<Bf16>(int mr, int nv);
template void run_products(const TileOf<Bf16>&, int, int64_t, int64_t);
template void run_products(const TileOf<Bf16, float>&, int, int64_t, int64_t);
#endif

void run_panels(const Tile& whole, int mr, int64_t first, int64_t last, Act act, float param) {
  run_products(whole, mr, first, last);
  if (is_clamp(act) || first >= last) return;
  const int64_t k0 = first * kLanes, k1 = last * kLanes < whole.n ? last * kLanes : whole.n;
  activate_rows(whole.y + k0, whole.ldy, mr, k1 - k0, act, param);
}

}  // namespace pycnn::PYCNN_ISA_NS
