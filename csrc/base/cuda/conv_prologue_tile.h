// A 1x1 convolution of what a norm or a gate makes of x on its way: clamp(x * scale + shift), a scale and a shift for
// each channel, or x * gate, a factor for each channel of an image. Each thread changes the pieces of x that it copied
// itself, between their arrival and the barrier that shows them to the others, so that there is no barrier more.
#pragma once
#include "base/cuda/conv_tile.h"

namespace pycnn::cuda {

struct ConvNormArgs {
  ConvArgs conv;
  const float *scale, *shift;  // of each channel, zeros up to whole tiles of the reduction; 16-byte aligned
  float low, high;
};

struct ConvGateArgs {
  ConvArgs conv;
  const void* gate;  // a row of channels for each image
  int64_t ld;        // elements between rows
  int wide;          // whole pieces of it are aligned
};

// make(pass, v): changes the piece of this thread's row of pass `pass`.
template <class Tile, class Make>
PYCNN_DEVICE void change_rows(char* stage, const Make& make) {
  using T = typename Storage<Tile::kMath>::Type;
#pragma unroll
  for (int pass = 0; pass < Tile::kPassesA; ++pass) {
    char* at = stage + place(thread() / kRowPieces + pass * Tile::kRowsAPass, thread() % kRowPieces);
    float v[kPiece<T>];
    unpack<T>(shared_load16(at), v);
    make(pass, v);
    shared_store16(at, pack_piece<T>(v));
  }
}

template <class Tile>
struct NormRows {
  using Args = ConvNormArgs;
  static constexpr int kElements = kPiece<typename Storage<Tile::kMath>::Type>;

  PYCNN_DEVICE void start(const Args&, int) {}

  PYCNN_DEVICE void change(const Args& a, char* stage, int tile) const {
    const int first = tile * Tile::kTileElements + thread() % kRowPieces * kElements;
    float scale[kElements], shift[kElements];
#pragma unroll
    for (int e = 0; e < kElements; e += 4) {
      const Vec16 scales = load16(a.scale + first + e, true), shifts = load16(a.shift + first + e, true);
#pragma unroll
      for (int f = 0; f < 4; ++f) scale[e + f] = bits_float(scales.word[f]), shift[e + f] = bits_float(shifts.word[f]);
    }
    change_rows<Tile>(stage, [&](int, float (&v)[kElements]) {
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        v[e] = v[e] * scale[e] + shift[e];
        v[e] = v[e] < a.low ? a.low : v[e] > a.high ? a.high : v[e];
      }
    });
  }
};

template <class Tile>
struct GateRows {
  using Args = ConvGateArgs;
  using T = typename Storage<Tile::kMath>::Type;
  static constexpr int kElements = kPiece<T>;

  int image[Tile::kPassesA];  // of this thread's rows; those past the last pixel are nobody's

  PYCNN_DEVICE void start(const Args& a, int first_pixel) {
#pragma unroll
    for (int pass = 0; pass < Tile::kPassesA; ++pass) {
      const int pixel = first_pixel + thread() / kRowPieces + pass * Tile::kRowsAPass;
      image[pass] = pixel < a.conv.pixels ? pixel / a.conv.ow / a.conv.oh : 0;
    }
  }

  PYCNN_DEVICE void change(const Args& a, char* stage, int tile) const {
    const int first = tile * Tile::kTileElements + thread() % kRowPieces * kElements;
    const int left = a.conv.c - first, count = left < kElements ? left : kElements;
    change_rows<Tile>(stage, [&](int pass, float (&v)[kElements]) {
      float gate[kElements];
      load_piece(static_cast<const T*>(a.gate) + image[pass] * a.ld + first, count, a.wide && count == kElements, gate);
#pragma unroll
      for (int e = 0; e < kElements; ++e) v[e] *= gate[e];
    });
  }
};

template <class Tile, class Rows>
PYCNN_GLOBAL(Tile::kThreads)
conv_prologue_tile(typename Rows::Args p) {
  const ConvArgs& a = p.conv;
  const int first_pixel = static_cast<int>(block_x() / a.n_tiles) * Tile::kBlockM, warp = thread() / 32;
  const int first_channel = static_cast<int>(block_x() % a.n_tiles) * Tile::kBlockN;
  ConvSource<Tile> source;
  source.start(a, first_pixel, 0);
  Rows rows;
  rows.start(p, first_pixel);
  fetch_first_weights<Tile>(a, first_channel, 0);
  const auto fetch_tile = [&](char* stage, int tile) {
    source.fetch(a, stage);
    fetch_more_weights<Tile>(a, first_channel, 0, tile, stage);
    source.advance(a);
  };
  const auto arrived = [&](char* stage, int tile) { rows.change(p, stage, tile); };
  float acc[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
  tile_sums<Tile>(a.tiles, fetch_tile, arrived, acc);
  conv_epilogue<Tile>(a, acc, shared() + warp * 16 * Tile::kTurnLd * 4,
                      first_pixel + warp / Tile::kWarpsN * Tile::kWarpM,
                      first_channel + warp % Tile::kWarpsN * Tile::kWarpN);
}

}  // namespace pycnn::cuda
