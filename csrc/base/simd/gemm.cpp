#include "base/simd/gemm.h"

#include "base/simd/activate.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Steps of depth at once, so that a row pointer kept in memory costs a quarter of a load.
constexpr int kUnroll = 4;
// So many of the tiles that pass over the same panels share in asking for the next ones: lines are then asked for at the
// pace at which memory gives them (ResNet-18 at batch 1 on a Zen 5: 3 % over asking for all of them under the first tile).
constexpr int kMostTurns = 4;
constexpr int kSpacedRows = 11;  // from so many on pointers do not fit the registers

// Rows of A anywhere: a pointer each.
template <class E, int MR>
struct Pointers {
  const E* const* rows;
  int64_t c;
  __attribute__((always_inline)) void forget() {}
  __attribute__((always_inline)) const E* at(int r, int64_t offset) const { return rows[r] + c + offset; }
  __attribute__((always_inline)) void advance(int64_t n) { c += n; }
};

// Rows of A a distance apart: four have a base, of which x86 addresses them by 0, 1, 2 and 3 distances. That takes 6
// registers for 14 rows; 14 pointers do not fit, and each step of depth loaded five of them (14 % of a Xeon's multiply
// rate, family 6, model 167).
template <class E, int MR>
struct Spaced {
  static constexpr int kBases = (MR + 3) / 4;
  const E* base[kBases];
  int64_t distance, thrice;

  __attribute__((always_inline)) Spaced(const E* first, int64_t distance) : distance(distance), thrice(3 * distance) {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) base[i] = first + 4 * i * distance;
    forget();
  }
  // What the registers hold is no longer known to the compiler, which would keep an address of its own for each row.
  __attribute__((always_inline)) void forget() {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) asm("" : "+r"(base[i]));
    asm("" : "+r"(distance), "+r"(thrice));
  }
  __attribute__((always_inline)) const E* at(int r, int64_t offset) const {
    return base[r / 4] + (r % 4 == 3 ? thrice : r % 4 * distance) + offset;
  }
  __attribute__((always_inline)) void advance(int64_t n) {
#pragma GCC unroll 4
    for (int i = 0; i < kBases; ++i) base[i] += n;
  }
};

// Whether the rows are a distance apart, and which, in elements.
template <int MR, class E>
PYCNN_INLINE bool evenly_spaced(const E* const* rows, int64_t& distance) {
  const auto address = [&](int r) __attribute__((always_inline)) { return reinterpret_cast<intptr_t>(rows[r]); };
  const intptr_t bytes = address(1) - address(0);
  intptr_t other = 0;
#pragma GCC unroll 16
  for (int r = 2; r < MR; ++r) other |= (address(r) - address(r - 1)) ^ bytes;
  distance = bytes / static_cast<intptr_t>(sizeof(E));
  return other == 0;
}

// Weights that come next, asked for `stride` elements a step of depth; null: none are.
template <class E>
struct Ahead {
  const E* at;
  int64_t stride;
};

// The next panels are asked for, by each of the tiles that pass over these a part of their rows: a network's weights come
// from memory, in runs too short for the hardware to be ahead (7 to 17 % of ResNet, DenseNet, MobileNet and GoogLeNet at
// batch 1 on a Zen 5). Behind the last panel nothing is read. Of tiles of few rows, which read four or eight panels at the
// speed of memory, the hardware is ahead, and lines asked for twice only cost (AlexNet and VGG-16 at batch 1: 2 %).
template <int NV, class E, class Y>
PYCNN_INLINE Ahead<E> ahead_of(const TileOf<E, Y>& t) {
  const int shares = t.turns < 1 ? 1 : t.turns < kMostTurns ? t.turns : kMostTurns;
  if (NV > 2 || t.turn >= shares) return {nullptr, 0};
  constexpr int64_t line = Products<E>::kStep * kLanes;
  return {t.w + NV * t.panel + t.turn * (t.panel / shares), (line + shares - 1) / shares};
}

// acc += the rows, `depth` elements of each, times w's panels. Low: of the last panel the lower half of the columns.
template <bool Low, int MR, int NV, class E, class Rows>
PYCNN_INLINE void add_products(Vec (&acc)[MR][NV], Rows rows, const E* w, int64_t depth, int64_t panel,
                               Ahead<E>& ahead) {
  using P = Products<E>;
  constexpr int64_t kStep = P::kStep;
  const auto step = [&](int64_t offset, auto get) __attribute__((always_inline)) {
    rows.forget();
    typename P::Factor b[NV];
#pragma GCC unroll 8
    for (int j = 0; j < NV - Low; ++j) b[j] = P::factors(w + j * panel);
    if constexpr (Low) b[NV - 1] = P::factors_low(w + (NV - 1) * panel);
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      const typename P::Factor x = get(rows.at(r, offset));
#pragma GCC unroll 8
      for (int j = 0; j < NV - Low; ++j) acc[r][j] = P::multiply_add(acc[r][j], x, b[j]);
      if constexpr (Low) acc[r][NV - 1] = P::multiply_add_low(acc[r][NV - 1], x, b[NV - 1]);
    }
    w += kStep * kLanes;
  };
  const auto whole = [](const E* x) __attribute__((always_inline)) {
    if constexpr (Low && NV == 1)
      return P::spread_low(x);
    else
      return P::spread(x);
  };
  int64_t left = depth;
  for (; left >= kUnroll * kStep; left -= kUnroll * kStep) {
    // A branch of its own: prefetches that ask for nothing new cost that Xeon 12 % of its multiply rate.
    if (ahead.at) {
#pragma GCC unroll 4
      for (int u = 0; u < kUnroll; ++u, ahead.at += ahead.stride)
#pragma GCC unroll 8
        for (int j = 0; j < NV; ++j) __builtin_prefetch(ahead.at + j * panel, 0, 2);
    }
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) step(u * kStep, whole);
    rows.advance(kUnroll * kStep);
  }
  for (; left >= kStep; left -= kStep, rows.advance(kStep)) step(0, whole);
  if constexpr (kStep > 1) {
    if (left > 0) step(0, [](const E* x) __attribute__((always_inline)) { return P::spread_last(x); });
  }
}

template <class E, class Y, int MR, int NV, bool Low>
void tile_mn(const TileOf<E, Y>& t) {
  Vec acc[MR][NV];
  clear(acc);
  const int64_t depth = whole_steps<E>(t.depth);
  Ahead<E> ahead = ahead_of<NV>(t);
  for (int64_t tap = 0; tap < t.taps; ++tap) {
    const E* const* rows = t.rows + tap * MR;
    const E* w = t.w + (t.live ? t.live[tap] : tap) * depth * kLanes;
    if constexpr (MR >= kSpacedRows) {
      int64_t distance;
      if (evenly_spaced<MR>(rows, distance)) {
        add_products<Low>(acc, Spaced<E, MR>(rows[0] + t.first, distance), w, t.depth, t.panel, ahead);
        continue;
      }
    }
    add_products<Low>(acc, Pointers<E, MR>{rows, t.first}, w, t.depth, t.panel, ahead);
  }
  finish(acc, t);
}

template <class E, class Y, int NV, bool Low = false>
TileFn<E, Y> rows_of(int mr) {
  constexpr int most = NV <= 2 ? kMaxRows : NV == 4 ? (kLanes == 16 ? 6 : 2) : (kLanes == 16 ? 3 : 1);
#define PYCNN_ROWS(m)                   \
  case m:                               \
    if constexpr (m <= most)            \
      return tile_mn<E, Y, m, NV, Low>; \
    else                                \
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

// Tiles whose last panel has no more columns than half a vector, where half a vector takes half the time; null: no others.
template <class E, class Y>
TileFn<E, Y> low_tile_fn(int mr, int nv) {
  if constexpr (kLanes == 16 && sizeof(E) == sizeof(float)) {
    if (!whole_vectors() && nv <= 2) return nv == 2 ? rows_of<E, Y, 2, true>(mr) : rows_of<E, Y, 1, true>(mr);
  }
  return nullptr;
}

template <class E, class Y>
void run_products(const TileOf<E, Y>& whole, int mr, int64_t first, int64_t last) {
  TileOf<E, Y> t = whole;
  int nv = 0;
  TileFn<E, Y> fn = nullptr;
  for (int64_t p = first; p < last; p += nv) {
    if (const int width = tile_width(mr, last - p); width != nv) fn = tile_fn<E, Y>(mr, nv = width);
    const int64_t k0 = p * kLanes;
    if (whole.n - k0 <= nv * kLanes - kLanes / 2)
      if (const TileFn<E, Y> low = low_tile_fn<E, Y>(mr, nv)) fn = low;
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
