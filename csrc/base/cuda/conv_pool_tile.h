// A convolution whose map is max-pooled before it leaves the SM: a block computes the pixels that a tile of windows
// covers, in the convolution's own way, keeps their sums in shared memory and writes the largest of each window. Pixels
// that two tiles cover are computed twice. Bias and an activation that keeps the order of values come after the largest.
#pragma once
#include "base/cuda/conv_tile.h"
#include "base/cuda/reduce.h"

namespace pycnn::cuda {

struct ConvPoolArgs {
  ConvArgs conv;            // oh x ow: the map that is pooled; one group; no residual
  int down, across;         // tiles of a pooled map
  int rows, columns;        // pooled pixels of a tile
  int window, stride, pad;  // of the pooling, both ways
  int pooled_h, pooled_w;   // its result
};

template <class Tile>
struct ConvPoolTile {
  static constexpr int kLd = Tile::kBlockN + 4;  // fp32 sums of a pixel; 4 more than the row, against bank conflicts
  static constexpr int kSumBytes = Tile::kBlockM * kLd * 4, kStages = Tile::kStages * Tile::kStageBytes;
  static constexpr int kShared = kStages > kSumBytes ? kStages : kSumBytes;
};

// Each warp's sums to [pixel of the tile][channel].
template <class Tile>
PYCNN_DEVICE void keep_sums(const float (&acc)[Tile::kWarpM / 16][Tile::kWarpN / 8][4], float* sums) {
  constexpr int kLd = ConvPoolTile<Tile>::kLd;
  const int warp = thread() / 32, lane = thread() % 32;
  const int row = warp / Tile::kWarpsN * Tile::kWarpM + lane / 4;
  const int column = warp % Tile::kWarpsN * Tile::kWarpN + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < Tile::kWarpM / 16; ++i)
#pragma unroll
    for (int j = 0; j < Tile::kWarpN / 8; ++j)
#pragma unroll
      for (int v = 0; v < 4; ++v)
        shared_store(sums + (row + i * 16 + v / 2 * 8) * kLd + column + j * 8 + v % 2, acc[i][j][v]);
}

// Where a block's tile of windows begins: pooled pixel (y, x) of an image.
struct PoolSpot {
  int64_t image;
  int y, x;
};

// The largest sums of the tile's windows; `wide`: pixels of a row of the tile.
template <class Tile>
PYCNN_DEVICE void pool_sums(const ConvPoolArgs& p, const float* sums, const PoolSpot& at, int wide, int first_channel) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kElements = kPiece<T>, kPieces = Tile::kBlockN / kElements, kLd = ConvPoolTile<Tile>::kLd;
  const ConvArgs& a = p.conv;
  for (int item = thread(); item < p.rows * p.columns * kPieces; item += Tile::kThreads) {
    const int spot = item / kPieces, row = spot / p.columns, column = spot - row * p.columns;
    const int y = at.y + row, x = at.x + column, piece = item % kPieces * kElements, channel = first_channel + piece;
    const int count = a.k - channel < kElements ? a.k - channel : kElements;
    if (y >= p.pooled_h || x >= p.pooled_w || count <= 0) continue;
    float v[kElements];
    each(v, [](float) { return -INFINITY; });
    for (int i = 0; i < p.window; ++i)
      for (int j = 0; j < p.window; ++j) {
        const int oy = y * p.stride - p.pad + i, ox = x * p.stride - p.pad + j;
        if (oy < 0 || oy >= a.oh || ox < 0 || ox >= a.ow) continue;
        const float* from = sums + ((row * p.stride + i) * wide + column * p.stride + j) * kLd + piece;
#pragma unroll
        for (int e = 0; e < kElements; e += 4) {
          const Vec16 quarter = shared_load16(from + e);
#pragma unroll
          for (int f = 0; f < 4; ++f) v[e + f] = larger(v[e + f], bits_float(quarter.word[f]));
        }
      }
    if (a.bias)
#pragma unroll
      for (int e = 0; e < kElements; ++e)
        if (e < count) v[e] += load(a.bias + channel + e);
    activate(v, a.act, a.act_param);
    const int64_t pixel = (at.image * p.pooled_h + y) * p.pooled_w + x;
    store_piece(static_cast<T*>(a.y) + pixel * a.ldy + channel, count, a.wide_y && count == kElements, v);
  }
}

template <class Tile>
PYCNN_GLOBAL(Tile::kThreads)
conv_pool_tile(ConvPoolArgs p) {
  const ConvArgs& a = p.conv;
  const int tile = static_cast<int>(block_x() / a.n_tiles), line = tile / p.across;
  const int first_channel = static_cast<int>(block_x() % a.n_tiles) * Tile::kBlockN;
  const PoolSpot at{line / p.down, line % p.down * p.rows, tile % p.across * p.columns};
  const int wide = (p.columns - 1) * p.stride + p.window, high = (p.rows - 1) * p.stride + p.window;
  ConvSource<Tile> source;
#pragma unroll
  for (int pass = 0; pass < Tile::kPassesA; ++pass) {
    const int pixel = thread() / kRowPieces + pass * Tile::kRowsAPass, row = pixel / wide;
    const int oy = at.y * p.stride - p.pad + row, ox = at.x * p.stride - p.pad + pixel - row * wide;
    const bool there = row < high && oy >= 0 && oy < a.oh && ox >= 0 && ox < a.ow;
    source.window(a, pass, at.image, oy, ox, there, 0);
  }
  source.begin(a);
  float acc[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
  conv_sums<Tile>(a, source, first_channel, 0, acc);
  float* sums = reinterpret_cast<float*>(shared());
  keep_sums<Tile>(acc, sums);
  sync();
  pool_sums<Tile>(p, sums, at, wide, first_channel);
}

}  // namespace pycnn::cuda
