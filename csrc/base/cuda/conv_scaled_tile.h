// A 1x1 convolution of act(x * scale + shift), a scale and a shift for each channel: what lies before it in a network
// whose norms come first. Each thread changes the pieces of x that it copied itself, between their arrival and the
// barrier that shows them to the others, so that there is no barrier more.
#pragma once
#include "base/cuda/conv_tile.h"

namespace pycnn::cuda {

struct ConvScaledArgs {
  ConvArgs conv;
  const float *scale, *shift;  // of each channel, zeros up to whole tiles of the reduction; 16-byte aligned
  int relu;                    // act: max(., 0), or nothing
};

template <class Tile>
PYCNN_DEVICE void scale_rows(const ConvScaledArgs& a, char* stage, int tile) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kElements = kPiece<T>;
  const int piece = thread() % kRowPieces, first = tile * Tile::kTileElements + piece * kElements;
  float scale[kElements], shift[kElements], v[kElements];
#pragma unroll
  for (int e = 0; e < kElements; e += 4) {
    const Vec16 scales = load16(a.scale + first + e, true), shifts = load16(a.shift + first + e, true);
#pragma unroll
    for (int f = 0; f < 4; ++f) scale[e + f] = bits_float(scales.word[f]), shift[e + f] = bits_float(shifts.word[f]);
  }
#pragma unroll
  for (int pass = 0; pass < Tile::kPassesA; ++pass) {
    char* at = stage + place(thread() / kRowPieces + pass * Tile::kRowsAPass, piece);
    unpack<T>(shared_load16(at), v);
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
      v[e] = v[e] * scale[e] + shift[e];
      v[e] = a.relu && v[e] < 0 ? 0.0f : v[e];
    }
    shared_store16(at, pack_piece<T>(v));
  }
}

template <class Tile>
PYCNN_GLOBAL(Tile::kThreads)
conv_scaled_tile(ConvScaledArgs s) {
  const ConvArgs& a = s.conv;
  const int first_pixel = static_cast<int>(block_x() / a.n_tiles) * Tile::kBlockM, warp = thread() / 32;
  const int first_channel = static_cast<int>(block_x() % a.n_tiles) * Tile::kBlockN;
  ConvSource<Tile> source;
  source.start(a, first_pixel, 0);
  fetch_first_weights<Tile>(a, first_channel, 0);
  const auto fetch_tile = [&](char* stage, int tile) {
    source.fetch(a, stage);
    fetch_more_weights<Tile>(a, first_channel, 0, tile, stage);
    source.advance(a);
  };
  const auto arrived = [&](char* stage, int tile) { scale_rows<Tile>(s, stage, tile); };
  float acc[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
  tile_sums<Tile>(a.tiles, fetch_tile, arrived, acc);
  conv_epilogue<Tile>(a, acc, shared() + warp * 16 * Tile::kTurnLd * 4,
                      first_pixel + warp / Tile::kWarpsN * Tile::kWarpM,
                      first_channel + warp % Tile::kWarpsN * Tile::kWarpN);
}

}  // namespace pycnn::cuda
