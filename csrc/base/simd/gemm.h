// The register tile every dense kernel is built from: y = clamp(A B + bias + residual).
#pragma once
#include "base/act.h"
#include "base/simd/element.h"

namespace pycnn::PYCNN_ISA_NS {

// Rows of the largest tile: 14 x 2 vectors fill the 32 registers of AVX-512, 6 x 2 the 16 of the others.
inline constexpr int kMaxRows = kLanes == 16 ? 14 : 6;

// A is read through row pointers, so that a convolution needs no copy of its input: row r of the product is the
// concatenation over taps t of depth elements at rows[t * mr + r] + first. B is packed by pack_panel in panels of kLanes
// columns: w[panel][taps][depth / step][kLanes][step], zero past the last column and the last of depth; step: Products<E>::kStep.
// Y: what the results and the residual are.
template <class E, class Y = E>
struct TileOf {
  const E* const* rows;  // [taps][mr]
  int64_t taps;
  const int* live;  // B's part for tap t is that of its tap live[t]; null: of tap t
  int64_t depth;
  int64_t first;      // elements that the rows begin behind their pointers, which groups of channels share
  const E* w;         // first panel of the tile
  int64_t panel;      // elements from one panel to the next: panel_size
  const float* bias;  // n values, or null
  const Y* residual;  // row r at r * ldr, or null
  int64_t ldr;
  Y* y;  // row r at r * ldy
  int64_t ldy;
  int64_t n;     // columns stored: (NV - 1) * kLanes < n <= NV * kLanes
  float lo, hi;  // clamp; NaN passes
  // Its place among `turns` tiles that pass over these panels one after the other and ask for the next ones together, or
  // behind them, where it asks for none. 0 of 0: it is the only one.
  int turn, turns;
};

template <int MR, int NV>
PYCNN_INLINE void clear(Vec (&acc)[MR][NV]) {
#pragma GCC unroll 16
  for (int r = 0; r < MR; ++r)
#pragma GCC unroll 8
    for (int j = 0; j < NV; ++j) acc[r][j] = Vec{};
}

// Stores y = clamp(sums + bias + residual) of a tile.
template <int MR, int NV, class E, class Y>
PYCNN_INLINE void finish(const Vec (&acc)[MR][NV], const TileOf<E, Y>& t) {
  // Copies: what a store may alias would be read again behind it.
  const int64_t n = t.n, ldr = t.ldr, ldy = t.ldy;
  const float* const biases = t.bias;
  const Y* const residual = t.residual;
  Y* const y = t.y;
  const Vec lo = broadcast(t.lo), hi = broadcast(t.hi);
#pragma GCC unroll 8
  for (int j = 0; j < NV; ++j) {
    const int64_t left = n - j * kLanes;
    const bool whole = left >= kLanes;
    const auto get = [&](const auto* p)
                         __attribute__((always_inline)) { return whole ? load(p) : load_first(p, left); };
    const Vec bias = biases ? get(biases + j * kLanes) : Vec{};
#pragma GCC unroll 16
    for (int r = 0; r < MR; ++r) {
      Vec v = acc[r][j] + bias;
      if (residual) v += get(residual + r * ldr + j * kLanes);
      v = at_most(at_least(v, lo), hi);
      if (whole)
        store(y + r * ldy + j * kLanes, v);
      else
        store_first(y + r * ldy + j * kLanes, v, left);
    }
  }
}

// Depth as packed.
template <class E = Element>
PYCNN_INLINE int64_t whole_steps(int64_t depth) {
  constexpr int64_t step = Products<E>::kStep;
  return (depth + step - 1) / step * step;
}
// Elements of a panel.
template <class E = Element>
PYCNN_INLINE int64_t panel_size(int64_t taps, int64_t depth) {
  return taps * whole_steps<E>(depth) * kLanes;
}

// Packs one panel at `to` and moves it behind: weight(tap, c, lane) for its column `lane` is asked for if c < depth and
// lane < columns.
template <class Weight, class E>
PYCNN_INLINE void pack_panel(int64_t taps, int64_t depth, int64_t columns, const Weight& weight, E*& to) {
  constexpr int64_t step = Products<E>::kStep;
  for (int64_t tap = 0; tap < taps; ++tap)
    for (int64_t c0 = 0; c0 < depth; c0 += step)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        for (int64_t c = c0; c < c0 + step; ++c, ++to)
          put(to, c < depth && lane < columns ? weight(tap, c, lane) : 0.0f);
}

// Weights that pack_panel made.
PYCNN_INLINE const Element* packed_panels(const float* packed) { return reinterpret_cast<const Element*>(packed); }

using Tile = TileOf<Element>;

template <class E, class Y = E>
using TileFn = void (*)(const TileOf<E, Y>&);

// The tile of mr rows (1..kMaxRows) and nv panels; nv is one of widths below and fits the registers. E, Y: Element, or
// float where E is.
template <class E, class Y = E>
TileFn<E, Y> tile_fn(int mr, int nv);

// Widest tile for mr rows and `panels` left: few rows take more panels, to keep enough sums in flight.
PYCNN_INLINE int tile_width(int mr, int64_t panels) {
  constexpr int wide = kLanes == 16 ? 3 : 1, half = kLanes == 16 ? 6 : 2;
  const int most = mr <= wide ? 8 : mr <= half ? 4 : 2;
  int nv = most;
  while (nv > panels) nv /= 2;
  return nv;
}

PYCNN_INLINE int64_t panels_of(int64_t n) { return (n + kLanes - 1) / kLanes; }

// relu, relu6 and none are clamps and cost nothing inside the tile; the rest is applied to the stored rows.
PYCNN_INLINE bool is_clamp(Act act) { return act == Act::kNone || act == Act::kRelu || act == Act::kRelu6; }
PYCNN_INLINE float clamp_lo(Act act) { return act == Act::kRelu || act == Act::kRelu6 ? 0.0f : -__builtin_inff(); }
PYCNN_INLINE float clamp_hi(Act act) { return act == Act::kRelu6 ? 6.0f : __builtin_inff(); }

// Runs panels [first, last) of one block of mr rows. `tile` holds what belongs to the rows and to the whole product (w,
// bias, residual, y, n = all its columns); the columns are filled in here.
template <class E, class Y>
void run_products(const TileOf<E, Y>& tile, int mr, int64_t first, int64_t last);

// The same, then the activation.
void run_panels(const Tile& tile, int mr, int64_t first, int64_t last, Act act, float param);

}  // namespace pycnn::PYCNN_ISA_NS
