// What the convolution's tiles need around them: the problem, packed weights, the arguments of a launch, a cost.
#pragma once
#include <cmath>

#include "base/cuda/conv_tile.h"
#include "base/cuda/kernel.h"

namespace pycnn::cuda {

// One convolution, sizes as in ops/conv2d/conv2d.h; ph and pw may be negative.
struct ConvShape {
  int64_t n, h, w, c, k, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw, groups;
  int64_t ldx, ldr, ldy;
  Act act;
  double act_param;

  int64_t group_c() const { return c / groups; }
  int64_t group_k() const { return k / groups; }
  int64_t pixels() const { return n * oh * ow; }
};

// Of blocks that each sum `tiles` tiles of the reduction. What is gathered element by element keeps up a quarter of the
// rate: assumed.
template <class Tile>
Cost tile_cost(double blocks, double tiles, bool added) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr double kM = Tile::kBlockM, kN = Tile::kBlockN, kWhole = Tile::kGather == Gather::kPieces ? 1 : 0.25;
  Demand d;
  d.blocks = blocks;
  d.operations = 2 * kM * kN * tiles * Tile::kTileElements;
  d.rate = mma_rate(sizeof(T) == 2, Tile::kMath == Math::kF32 ? 3 : 1) * tile_share(kM, kN) * kWhole;
  d.bytes = tiles * Tile::kStageBytes + kM * kN * sizeof(T) * (added ? 2 : 1);
  d.waits = tiles / (Tile::kStages - 1) + 2;  // for the first tile, and for what is added or stored
  d.resident = resident_blocks(Tile::kThreads, Tile::kShared);
  return cost_of(d);
}

template <class Tile>
struct ConvLauncher {
  using T = typename Storage<Tile::kMath>::Type;
  static constexpr bool kRow = Tile::kGather == Gather::kRow;
  static constexpr int64_t kElements = kPiece<T>;

  static int64_t taps(const ConvShape& s) { return kRow ? s.kh : s.kh * s.kw; }
  static int64_t tap_elements(const ConvShape& s) { return kRow ? s.kw * s.c : s.group_c(); }
  static int64_t tap_pieces(const ConvShape& s) { return (tap_elements(s) + kElements - 1) / kElements; }
  static int64_t tiles(const ConvShape& s) { return (taps(s) * tap_pieces(s) + kRowPieces - 1) / kRowPieces; }

  static const char* why_not(const ConvShape& s) {
    constexpr int64_t kMost = 1 << 30;
    if (s.pixels() > kMost || s.h * s.w > kMost || s.k > kMost || s.kh * s.kw * s.c > kMost || s.groups > 65535)
      return "has more than 2^30 pixels, channels or taps, or 65535 groups";
    if (kRow && (s.groups != 1 || s.dw != 1 || s.ldx != s.c)) return "needs pixels side by side, dilation 1, one group";
    if (kRow && s.w * s.c > kMost) return "has more than 2^30 elements a row";
    if (Tile::kGather == Gather::kPieces && (s.ldx % kElements != 0 || (s.groups > 1 && s.group_c() % kElements != 0)))
      return "needs pixels and groups that start on multiples of 16 bytes";
    return nullptr;
  }

  static int64_t packed_elements(const ConvShape& s) { return s.k * tiles(s) * Tile::kTileElements; }

  // [k][tile of the reduction][element], a tap's elements padded to whole pieces, zeros where nothing is.
  // weight(k, c, i, j): of output k, channel c of its group, tap (i, j).
  template <class Weight>
  static void pack(const ConvShape& s, const Weight& weight, T* packed) {
    const int64_t length = tiles(s) * Tile::kTileElements, padded = tap_pieces(s) * kElements;
    for (int64_t k = 0; k < s.k; ++k)
      for (int64_t r = 0; r < length; ++r) {
        const int64_t tap = r / padded, e = r % padded;
        const bool there = tap < taps(s) && e < tap_elements(s);
        const int64_t c = kRow ? e % s.c : e, spot = kRow ? tap * s.kw + e / s.c : tap;
        packed[k * length + r] = from_float<T>(there ? weight(k, c, spot / s.kw, spot % s.kw) : 0.0f);
      }
  }

  static bool wide(const ConvShape& s, const void* at, int64_t ld) {
    return aligned16(at) && ld % kElements == 0 && (s.groups == 1 || s.group_k() % kElements == 0);
  }

  static ConvArgs arguments(const ConvShape& s, const Ptrs& ptrs) {
    ConvArgs a{};
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    a.x = ptrs.x, a.residual = ptrs.residual, a.w = ptrs.w, a.bias = ptrs.bias, a.y = ptrs.y;
    a.ldx = s.ldx, a.ldr = s.ldr, a.ldy = s.ldy;
    a.w_row = tiles(s) * Tile::kTileElements, a.w_group = a.w_row * s.group_k();
    a.pixels = narrow(s.pixels()), a.h = narrow(s.h), a.width = narrow(s.w);
    a.c = narrow(s.group_c()), a.k = narrow(s.group_k()), a.kw = narrow(s.kw), a.oh = narrow(s.oh), a.ow = narrow(s.ow);
    a.sh = narrow(s.sh), a.sw = narrow(s.sw), a.ph = narrow(s.ph), a.pw = narrow(s.pw);
    a.dh = narrow(s.dh), a.dw = narrow(s.dw);
    a.taps = narrow(taps(s)), a.tap_elements = narrow(tap_elements(s)), a.tap_pieces = narrow(tap_pieces(s));
    a.tiles = narrow(tiles(s)), a.n_tiles = narrow((s.group_k() + Tile::kBlockN - 1) / Tile::kBlockN);
    a.wide_r = wide(s, ptrs.residual, s.ldr), a.wide_y = wide(s, ptrs.y, s.ldy);
    a.act = s.act, a.act_param = static_cast<float>(s.act_param);
    return a;
  }

  static Cost cost(const ConvShape& s) {
    const double m = Tile::kBlockM, n = Tile::kBlockN;
    const double blocks = std::ceil(static_cast<double>(s.pixels()) / m) *
                          std::ceil(static_cast<double>(s.group_k()) / n) * static_cast<double>(s.groups);
    return tile_cost<Tile>(blocks, static_cast<double>(tiles(s)), s.ldr > 0);
  }

  static const char* check(const Ptrs& ptrs) {
    if (!aligned16(ptrs.w)) return "packed weights do not start on a multiple of 16 bytes";
    if (Tile::kGather == Gather::kPieces && !aligned16(ptrs.x)) return "x does not start on a multiple of 16 bytes";
    return nullptr;
  }

  static const char* launch(const ConvArgs& a, int64_t groups, Stream stream) {
    const Grid grid{(static_cast<int64_t>(a.pixels) + Tile::kBlockM - 1) / Tile::kBlockM * a.n_tiles, groups};
    return cuda::launch<conv_tile<Tile>>(grid, Tile::kThreads, Tile::kShared, stream, a);
  }
};

}  // namespace pycnn::cuda
