// Two products on tensor cores with an activation between them: rows are pixels, the hidden channels come in chunks of 32.
//
// A block computes kBlockM pixels, kWarpM a warp, of all output channels. x lies in shared memory, or where kHeld in
// registers, as fragments; the weights of both layers for one chunk travel through kStages buffers by cp.async. A warp's
// sums of a chunk, with bias and activation in fp32, are rounded where they are: four sums of a 16 x 8 tile are half a
// fragment of the second product's A. Both reductions go in the order of conv_tile.h, so that the bits are those of two
// kernels.
#pragma once
#include "base/cuda/conv_tile.h"
#include "ops/mlp/mlp.h"

namespace pycnn::cuda {

struct MlpArgs {
  ConvArgs conv;  // c channels of x; what follows the second product
  const void* w;  // chunks, each of kChunkBytes
  int chunks;     // of hidden channels
  Act act;
  float act_param;
};

template <Math kMath_, int kChannels_, int kWarpM_, int kWarps_, bool kHeld_>
struct MlpTile {
  static constexpr Math kMath = kMath_;
  static constexpr bool kScatter = false;
  static constexpr int kChannels = kChannels_, kWarps = kWarps_, kStages = 3;
  static constexpr bool kHeld = kHeld_;
  static constexpr int kWarpM = kWarpM_, kWarpN = kChannels, kBlockM = kWarps * kWarpM, kThreads = kWarps * 32;
  static constexpr int kHidden = kRowBytes / 2;        // channels of a chunk
  static constexpr int kAcross = kChannels / kHidden;  // tiles of 64 bytes side by side that hold a row of x or of w1
  static constexpr int kTurnLd = kWarpN + 4;           // as ConvTile's
  static constexpr int kXTile = kBlockM * kRowBytes, kXBytes = kAcross * kXTile;
  static constexpr int kW1Tile = kHidden * kRowBytes, kW1Bytes = kAcross * kW1Tile;
  static constexpr int kBiasAt = kW1Bytes + kChannels * kRowBytes, kChunkBytes = kBiasAt + kHidden * 4;
  static constexpr int kTurnBytes = kWarps * 16 * kTurnLd * 4, kBuffers = kXBytes + kStages * kChunkBytes;
  static constexpr int kShared = kBuffers > kTurnBytes ? kBuffers : kTurnBytes;
  // Of shared memory that a warp reads for one mma, a mean of both layers'. A fragment of weights is 256 bytes for each
  // 16 pixels; one of x 512 bytes, for the four mmas of a chunk.
  static constexpr double kBytesAProduct = 256.0 / (kWarpM / 16) + (kHeld ? 0 : 64);
  static_assert(kChannels % kHidden == 0);
};

// b1's two rows lie behind a multiple of 8 rows, and stay as they are.
template <class Tile>
PYCNN_DEVICE void fetch_chunk(const MlpArgs& a, int chunk) {
  if (chunk >= a.chunks) return;
  const char* from = static_cast<const char*>(a.w) + static_cast<int64_t>(chunk) * Tile::kChunkBytes;
  char* to = shared() + Tile::kXBytes + chunk % Tile::kStages * Tile::kChunkBytes;
  copy_tiles<Tile::kThreads>(to, from, Tile::kChunkBytes / 16);
}

template <class Tile>
PYCNN_DEVICE void fetch_pixels(const ConvArgs& a, int first_pixel) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kPieces = Tile::kAcross * kRowPieces;
#pragma unroll 1
  for (int item = thread(); item < Tile::kBlockM * kPieces; item += Tile::kThreads) {
    const int row = item / kPieces, piece = item % kPieces, first = piece * kPiece<T>;
    int count = first_pixel + row < a.pixels ? a.c - first : 0;
    count = count < 0 ? 0 : count > kPiece<T> ? kPiece<T> : count;
    const T* from = static_cast<const T*>(a.x) + (count > 0 ? (first_pixel + row) * a.ldx + first : 0);
    char* to = shared() + piece / kRowPieces * Tile::kXTile + place(row, piece % kRowPieces);
    cp_async16(to, from, count * static_cast<int>(sizeof(T)));
  }
}

// Where the fragments of x are that a warp multiplies; nowhere, if they come out of shared memory each time.
template <class Tile>
struct HeldPixels {
  static constexpr int kCount = Tile::kHeld ? Tile::kAcross * kSteps : 1;
  uint32_t words[kCount][Tile::kWarpM / 16][4];

  PYCNN_DEVICE void load(int first_row) {
    const int lane = thread() % 32, row = first_row + lane % 8 + lane / 8 % 2 * 8;
#pragma unroll
    for (int at = 0; at < kCount; ++at)
#pragma unroll
      for (int i = 0; i < Tile::kWarpM / 16; ++i)
        ldmatrix_x4(words[at][i],
                    shared() + at / kSteps * Tile::kXTile + place(row + i * 16, at % kSteps * 2 + lane / 16));
  }
};

// A warp's sums of a chunk's hidden channels; w1: its tiles.
template <class Tile>
PYCNN_DEVICE void hidden_sums(const HeldPixels<Tile>& x, const char* w1, int row,
                              float (&sums)[Tile::kWarpM / 16][Tile::kHidden / 8][4]) {
  if constexpr (Tile::kHeld) {
#pragma unroll
    for (int at = 0; at < HeldPixels<Tile>::kCount; ++at)
      multiply_held<Tile::kMath, Tile::kWarpM, Tile::kHidden>(sums, x.words[at], w1 + at / kSteps * Tile::kW1Tile,
                                                              at % kSteps);
  } else {
#pragma unroll 1
    for (int tile = 0; tile < Tile::kAcross; ++tile)
      multiply_rows<Tile::kMath, Tile::kWarpM, Tile::kHidden>(sums, shared() + tile * Tile::kXTile, row,
                                                              w1 + tile * Tile::kW1Tile, 0);
  }
}

// A chunk's sums, finished, as A of the second product.
template <class Tile>
PYCNN_DEVICE void hidden_fragments(const MlpArgs& a, const float* bias,
                                   float (&sums)[Tile::kWarpM / 16][Tile::kHidden / 8][4],
                                   uint32_t (&words)[kSteps][Tile::kWarpM / 16][4]) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kM = Tile::kWarpM / 16, kN = Tile::kHidden / 8;
#pragma unroll
  for (int j = 0; j < kN; ++j)
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      const float each = shared_load(bias + j * 8 + thread() % 4 * 2 + v % 2);
#pragma unroll
      for (int i = 0; i < kM; ++i) sums[i][j][v] += each;
    }
  activate(reinterpret_cast<float (&)[kM * kN * 4]>(sums), a.act, a.act_param);
#pragma unroll
  for (int step = 0; step < kSteps; ++step)
#pragma unroll
    for (int i = 0; i < kM; ++i)
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        const float* two = &sums[i][step * 2 + word / 2][word % 2 * 2];
        words[step][i][word] = pack_two<T>(two[0], two[1]);
      }
}

template <class Tile>
PYCNN_GLOBAL(Tile::kThreads)
mlp_tile(MlpArgs a) {
  constexpr int kM = Tile::kWarpM, kN = Tile::kWarpN;
  const int first_pixel = static_cast<int>(block_x()) * Tile::kBlockM, warp = thread() / 32, row = warp * kM;
  // Weights do not depend on the kernels before; x is of the first group of copies too.
#pragma unroll 1
  for (int chunk = 0; chunk < Tile::kStages - 1; ++chunk) fetch_chunk<Tile>(a, chunk);
  wait_for_earlier();
  fetch_pixels<Tile>(a.conv, first_pixel);
#pragma unroll
  for (int group = 0; group < Tile::kStages - 1; ++group) cp_async_commit();
  float acc[kM / 16][kN / 8][4] = {};
  HeldPixels<Tile> x;
#pragma unroll 1
  for (int chunk = 0; chunk < a.chunks; ++chunk) {
    cp_async_wait<Tile::kStages - 2>();
    sync();  // everyone's copies of this chunk have landed, and the buffer filled next has been read by all
    fetch_chunk<Tile>(a, chunk + Tile::kStages - 1);
    cp_async_commit();
    const char* stage = shared() + Tile::kXBytes + chunk % Tile::kStages * Tile::kChunkBytes;
    if (Tile::kHeld && chunk == 0) x.load(row);
    float sums[kM / 16][Tile::kHidden / 8][4] = {};
    hidden_sums(x, stage, row, sums);
    uint32_t words[kSteps][kM / 16][4];
    hidden_fragments<Tile>(a, reinterpret_cast<const float*>(stage + Tile::kBiasAt), sums, words);
#pragma unroll
    for (int step = 0; step < kSteps; ++step)
      multiply_held<Tile::kMath, kM, kN>(acc, words[step], stage + Tile::kW1Bytes, step);
  }
  sync();
  conv_epilogue<Tile>(a.conv, acc, shared() + warp * 16 * Tile::kTurnLd * 4, first_pixel + row, 0);
}

}  // namespace pycnn::cuda
