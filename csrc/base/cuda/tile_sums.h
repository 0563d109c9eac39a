// The sums of a tile of a product on tensor cores: tiles of the reduction through stages of shared memory, and the way out
// of the registers of a warp. `Tile` has the constants of ConvTile.
#pragma once
#include "base/cuda/elements.h"
#include "base/cuda/mma.h"

namespace pycnn::cuda {

// The sums of each warp's part of a block's tile over `tiles` tiles of the reduction; then all of shared memory is free.
// fetch_tile(stage, tile): starts the copies of rows of A, and of those of B behind them, tile after tile.
// arrived(stage, tile): what this thread copied is there, and nobody else has seen it.
template <class Tile, class FetchTile, class Arrived>
PYCNN_DEVICE void tile_sums(int tiles, const FetchTile& fetch_tile, const Arrived& arrived,
                            float (&acc)[Tile::kWarpM / 16][Tile::kWarpN / 8][4]) {
  const int warp = thread() / 32;
  const int warp_row = warp / Tile::kWarpsN * Tile::kWarpM, warp_column = warp % Tile::kWarpsN * Tile::kWarpN;

  // Tile t lives in stage t % kStages; kStages - 1 tiles fly ahead of the one that is multiplied.
  const auto fetch = [&](int tile) {
    if (tile < tiles) fetch_tile(shared() + tile % Tile::kStages * Tile::kStageBytes, tile);
    cp_async_commit();
  };
#pragma unroll
  for (int tile = 0; tile < Tile::kStages - 1; ++tile) fetch(tile);
  for (int tile = 0; tile < tiles; ++tile) {
    cp_async_wait<Tile::kStages - 2>();
    arrived(shared() + tile % Tile::kStages * Tile::kStageBytes, tile);
    sync();  // everyone's copies of this tile have landed, and the stage fetched next has been read by all
    fetch(tile + Tile::kStages - 1);
    const char* stage = shared() + tile % Tile::kStages * Tile::kStageBytes;
    multiply_rows<Tile::kMath, Tile::kWarpM, Tile::kWarpN>(acc, stage, warp_row, stage + Tile::kBlockM * kRowBytes,
                                                           warp_column);
  }
  sync();
}

struct AsItArrived {
  PYCNN_DEVICE void operator()(char*, int) const {}
};

// 16 rows of a warp's sums into its own shared memory, and a piece of one of them out of it: neighbours of a row, which
// the sums' owners hold two of each, go to one thread.
template <class Tile>
PYCNN_DEVICE void turn_sums(const float (&acc)[Tile::kWarpN / 8][4], float* rows) {
  const int lane = thread() % 32;
#pragma unroll
  for (int j = 0; j < Tile::kWarpN / 8; ++j)
#pragma unroll
    for (int v = 0; v < 4; ++v)
      shared_store(rows + (lane / 4 + v / 2 * 8) * Tile::kTurnLd + j * 8 + lane % 4 * 2 + v % 2, acc[j][v]);
}

template <class Tile, int kCount>
PYCNN_DEVICE void turned_piece(const float* rows, int row, int first, float (&v)[kCount]) {
#pragma unroll
  for (int e = 0; e < kCount; e += 4) {
    const Vec16 quarter = shared_load16(rows + row * Tile::kTurnLd + first + e);
#pragma unroll
    for (int f = 0; f < 4; ++f) v[e + f] = bits_float(quarter.word[f]);
  }
}

}  // namespace pycnn::cuda
