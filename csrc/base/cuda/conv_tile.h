// The convolution as a product on tensor cores: rows are output pixels, columns output channels, the reduction runs over
// taps and, inside a tap, over pieces of 16 bytes of input channels.
//
// A block computes kBlockM pixels x kBlockN channels of one group. Tiles of 64 bytes of the reduction travel through
// kStages buffers by cp.async; one barrier a tile. Pixels outside the map, channels past the last and pieces past the
// reduction are zeros in shared memory. The epilogue turns each warp's sums around in shared memory, 16 rows at a time,
// so that residual and y move in 16-byte pieces; sums, bias, residual and activation are fp32.
#pragma once
#include "base/cuda/elements.h"
#include "base/cuda/tile_sums.h"

namespace pycnn::cuda {

// How a piece of x is fetched.
enum class Gather {
  kPieces,    // one cp.async: strides, first channels and addresses are multiples of 16 bytes
  kElements,  // element by element: any stride, any first channel
  kRow,       // a tap is a whole row of the window, kw * c elements side by side: ldx == c, dw == 1, one group
};

struct ConvArgs {
  const void *x, *residual, *w;
  const float* bias;
  void* y;
  int64_t ldx, ldr, ldy;
  int64_t w_group, w_row;      // elements of packed weights
  int pixels, h, width, c, k;  // c, k: of one group
  int kw, oh, ow, sh, sw, ph, pw, dh, dw;
  int taps, tap_elements, tap_pieces;
  int tiles, n_tiles;  // of the reduction; of output channels
  int wide_r, wide_y;  // 16-byte pieces of residual and y are aligned
  // kScatter: output (n, oy, ox) is pixel (n, oy * to_sh + to_y, ox * to_sw + to_x) of a map of to_h x to_w.
  int to_h, to_w, to_sh, to_sw, to_y, to_x;
  Act act;
  float act_param;
};

template <Math kMath_, Gather kGather_, int kBlockM_, int kBlockN_, int kWarpM_, int kWarpN_, int kStages_,
          bool kScatter_ = false>
struct ConvTile {
  static constexpr Math kMath = kMath_;
  static constexpr bool kScatter = kScatter_;
  static constexpr Gather kGather = kGather_;
  static constexpr int kBlockM = kBlockM_, kBlockN = kBlockN_, kWarpM = kWarpM_, kWarpN = kWarpN_, kStages = kStages_;
  static constexpr int kWarpsN = kBlockN / kWarpN;
  static constexpr int kThreads = kBlockM / kWarpM * kWarpsN * 32;
  static constexpr int kTileElements = kRowBytes / static_cast<int>(sizeof(typename Storage<kMath>::Type));
  static constexpr int kStageBytes = (kBlockM + kBlockN) * kRowBytes;
  static constexpr int kTurnLd = kWarpN + 4;  // fp32; 4 more than the row, against bank conflicts
  static constexpr int kTurnBytes = kThreads / 32 * 16 * kTurnLd * 4;
  static constexpr int kShared = kStages * kStageBytes > kTurnBytes ? kStages * kStageBytes : kTurnBytes;
  static constexpr int kRowsAPass = kThreads / kRowPieces;  // rows of a tile that the block loads at once
  static constexpr int kPassesA = kBlockM / kRowsAPass;
  static constexpr int kPassesB = (kBlockN + kRowsAPass - 1) / kRowsAPass;
  static_assert(kBlockM % kRowsAPass == 0);
};

// One thread's share of the gather: piece `piece` of rows thread / 4 + i * kRowsAPass, tile after tile.
template <class Tile>
struct ConvSource {
  using T = typename Storage<Tile::kMath>::Type;
  static constexpr int kElements = kPiece<T>;

  int64_t offset[Tile::kPassesA];              // of the window's first element, which may lie outside the map
  int iy[Tile::kPassesA], ix[Tile::kPassesA];  // of the window's first pixel
  int i = 0, j = 0, first = 0;                 // the tap, and the element inside it, of this thread's piece

  PYCNN_DEVICE void start(const ConvArgs& a, int first_pixel, int channel) {
#pragma unroll
    for (int pass = 0; pass < Tile::kPassesA; ++pass) {
      const int pixel = first_pixel + thread() / kRowPieces + pass * Tile::kRowsAPass;
      window(a, pass, pixel / a.ow / a.oh, pixel / a.ow % a.oh, pixel % a.ow, pixel < a.pixels, channel);
    }
    begin(a);
  }

  // The row of pass `pass` is the window of output (n, oy, ox), or where that is not `there`, of none.
  PYCNN_DEVICE void window(const ConvArgs& a, int pass, int64_t n, int oy, int ox, bool there, int channel) {
    iy[pass] = there ? oy * a.sh - a.ph : -(1 << 30);
    ix[pass] = ox * a.sw - a.pw;
    offset[pass] = ((n * a.h + oy * a.sh - a.ph) * a.width + ix[pass]) * a.ldx + channel;
  }

  PYCNN_DEVICE void begin(const ConvArgs& a) {
    first = thread() % kRowPieces * kElements;
    carry(a);
  }

  PYCNN_DEVICE void advance(const ConvArgs& a) {
    first += Tile::kTileElements;
    carry(a);
  }

  PYCNN_DEVICE void carry(const ConvArgs& a) {
    const int length = a.tap_pieces * kElements;
    while (first >= length) {
      first -= length;
      if (Tile::kGather == Gather::kRow || ++j == a.kw) j = 0, ++i;
    }
  }

  PYCNN_DEVICE void fetch(const ConvArgs& a, char* tile) const {
    const T* x = static_cast<const T*>(a.x);
    const bool in_window = (Tile::kGather == Gather::kRow ? i : i * a.kw + j) < a.taps;
    const int64_t tap = (static_cast<int64_t>(i) * a.dh * a.width + j * a.dw) * a.ldx + first;
    int count = a.tap_elements - first;
    if (count > kElements) count = kElements;
#pragma unroll
    for (int pass = 0; pass < Tile::kPassesA; ++pass) {
      char* to = tile + place(thread() / kRowPieces + pass * Tile::kRowsAPass, thread() % kRowPieces);
      const int y = iy[pass] + i * a.dh;
      bool inside = in_window && y >= 0 && y < a.h;
      const T* from = x + (offset[pass] + tap);
      if constexpr (Tile::kGather == Gather::kRow) {
        shared_store16(to, gather_piece(from, 1, inside ? -ix[pass] * a.c - first : kElements,
                                        min_of(count, (a.width - ix[pass]) * a.c - first)));
      } else {
        const int xx = ix[pass] + j * a.dw;
        inside = inside && xx >= 0 && xx < a.width;
        if constexpr (Tile::kGather == Gather::kPieces) {
          cp_async16(to, inside ? from : x, inside ? count * static_cast<int>(sizeof(T)) : 0);
        } else {
          shared_store16(to, gather_piece(from, 1, 0, inside ? count : 0));
        }
      }
    }
  }

  PYCNN_DEVICE static int min_of(int a, int b) { return a < b ? a : b; }
};

// Rows of weights are whole tiles: only the channel can be past the end.
template <class Tile>
PYCNN_DEVICE void fetch_weights(const ConvArgs& a, int first_channel, int group, int tile_index, char* tile) {
  using T = typename Storage<Tile::kMath>::Type;
  const T* w = static_cast<const T*>(a.w) + group * a.w_group + static_cast<int64_t>(tile_index) * Tile::kTileElements;
#pragma unroll
  for (int pass = 0; pass < Tile::kPassesB; ++pass) {
    const int row = thread() / kRowPieces + pass * Tile::kRowsAPass;
    if (Tile::kBlockN % Tile::kRowsAPass != 0 && row >= Tile::kBlockN) continue;
    const bool inside = first_channel + row < a.k;
    const T* from = w + (inside ? (first_channel + row) * a.w_row : 0) + thread() % kRowPieces * kPiece<T>;
    cp_async16(tile + place(row, thread() % kRowPieces), from, inside ? 16 : 0);
  }
}

// Weights do not depend on the kernels before: those of the tiles that fly first come while they end, and belong to the
// first group of copies.
template <class Tile>
PYCNN_DEVICE void fetch_first_weights(const ConvArgs& a, int first_channel, int group) {
#pragma unroll
  for (int tile = 0; tile < Tile::kStages - 1; ++tile)
    if (tile < a.tiles)
      fetch_weights<Tile>(a, first_channel, group, tile,
                          shared() + tile * Tile::kStageBytes + Tile::kBlockM * kRowBytes);
  wait_for_earlier();
}

// Of all others.
template <class Tile>
PYCNN_DEVICE void fetch_more_weights(const ConvArgs& a, int first_channel, int group, int tile, char* stage) {
  if (tile >= Tile::kStages - 1) fetch_weights<Tile>(a, first_channel, group, tile, stage + Tile::kBlockM * kRowBytes);
}

// The pixel of y and residual that output `pixel` is.
template <class Tile>
PYCNN_DEVICE int64_t conv_target(const ConvArgs& a, int64_t pixel) {
  if constexpr (!Tile::kScatter) return pixel;
  const int at = static_cast<int>(pixel), line = at / a.ow, image = line / a.oh;
  const int oy = line - image * a.oh, ox = at - line * a.ow;
  return (static_cast<int64_t>(image) * a.to_h + oy * a.to_sh + a.to_y) * a.to_w + ox * a.to_sw + a.to_x;
}

// The sums of one warp, whose first is (first_row, first_channel); `turn` is the warp's own shared memory. target_of(row):
// the pixel of y and residual that a row of the block's tile is, negative where it is none.
template <class Tile, class Target>
PYCNN_DEVICE void conv_epilogue_at(const ConvArgs& a, const float (&acc)[Tile::kWarpM / 16][Tile::kWarpN / 8][4],
                                   char* turn, int first_row, int first_channel, const Target& target_of) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kElements = kPiece<T>, kPieces = Tile::kWarpN / kElements;
  const int lane = thread() % 32, base = static_cast<int>(block_y()) * a.k;
  float* rows = reinterpret_cast<float*>(turn);
#pragma unroll
  for (int i = 0; i < Tile::kWarpM / 16; ++i) {
    if (i > 0) sync_warp();
    turn_sums<Tile>(acc[i], rows);
    sync_warp();
#pragma unroll
    for (int item = lane; item < 16 * kPieces; item += 32) {
      const int channel = first_channel + item % kPieces * kElements;
      const int count = a.k - channel < kElements ? a.k - channel : kElements;
      const int64_t target = target_of(first_row + i * 16 + item / kPieces);
      if (target < 0 || count <= 0) continue;
      float v[kElements], r[kElements];
      turned_piece<Tile>(rows, item / kPieces, item % kPieces * kElements, v);
      if (a.bias)
#pragma unroll
        for (int e = 0; e < kElements; ++e)
          if (e < count) v[e] += load(a.bias + base + channel + e);
      if (a.residual) {
        load_piece(static_cast<const T*>(a.residual) + target * a.ldr + base + channel, count,
                   a.wide_r && count == kElements, r);
#pragma unroll
        for (int e = 0; e < kElements; ++e) v[e] += r[e];
      }
      activate(v, a.act, a.act_param);
      store_piece(static_cast<T*>(a.y) + target * a.ldy + base + channel, count, a.wide_y && count == kElements, v);
    }
  }
}

template <class Tile>
PYCNN_DEVICE void conv_epilogue(const ConvArgs& a, const float (&acc)[Tile::kWarpM / 16][Tile::kWarpN / 8][4],
                                char* turn, int first_pixel, int first_channel) {
  const auto target = [&](int pixel) -> int64_t { return pixel < a.pixels ? conv_target<Tile>(a, pixel) : -1; };
  conv_epilogue_at<Tile>(a, acc, turn, first_pixel, first_channel, target);
}

template <class Tile>
PYCNN_DEVICE void conv_sums(const ConvArgs& a, ConvSource<Tile>& source, int first_channel, int group,
                            float (&acc)[Tile::kWarpM / 16][Tile::kWarpN / 8][4]) {
  fetch_first_weights<Tile>(a, first_channel, group);
  const auto fetch_tile = [&](char* stage, int tile) {
    source.fetch(a, stage);
    fetch_more_weights<Tile>(a, first_channel, group, tile, stage);
    source.advance(a);
  };
  tile_sums<Tile>(a.tiles, fetch_tile, AsItArrived{}, acc);
}

template <class Tile>
PYCNN_GLOBAL(Tile::kThreads)
conv_tile(ConvArgs a) {
  const int first_pixel = static_cast<int>(block_x() / a.n_tiles) * Tile::kBlockM;
  const int first_channel = static_cast<int>(block_x() % a.n_tiles) * Tile::kBlockN;
  const int group = static_cast<int>(block_y()), warp = thread() / 32;
  const int warp_row = warp / Tile::kWarpsN * Tile::kWarpM, warp_column = warp % Tile::kWarpsN * Tile::kWarpN;
  ConvSource<Tile> source;
  source.start(a, first_pixel, group * a.c);
  float acc[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
  conv_sums<Tile>(a, source, first_channel, group, acc);
  conv_epilogue<Tile>(a, acc, shared() + warp * 16 * Tile::kTurnLd * 4, first_pixel + warp_row,
                      first_channel + warp_column);
}

}  // namespace pycnn::cuda
