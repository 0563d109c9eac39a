// Expansion, depthwise convolution and projection of a tile of the result, 32 hidden channels at a time.
//
// A block keeps the pixels of x that its tile sees in shared memory. For each chunk it makes their hidden channels by a
// product on tensor cores, the depthwise window of them, piece by piece as ops/conv2d/cuda_depthwise.h does, and adds the
// chunk's part of the projection to sums in registers. What two tiles see of x is expanded twice. Weights of a chunk come
// by cp.async while the one before is used. Sums go in the order of the three kernels, so that the bits are theirs.
#pragma once
#include "base/cuda/conv_tile.h"

namespace pycnn::cuda {

struct InvertedResidualArgs {
  ConvArgs conv;      // x and its pixels, c channels; what follows the projection; sh: both strides
  const void* w;      // chunks of chunk_bytes
  int chunks, tiles;  // of hidden channels; of 32 channels of x
  int chunk_bytes;
  int down, across;  // tiles of a map
  Act act, dw_act;
  float act_param, dw_param;
};

template <Math kMath_, int kStride_, int kColumns_>
struct InvertedResidualTile {
  static constexpr Math kMath = kMath_;
  static constexpr bool kScatter = false;
  static constexpr int kStride = kStride_, kWarps = 4, kThreads = kWarps * 32;
  static constexpr int kHigh = 8, kWide = kStride == 1 ? 16 : 8, kBlockM = kHigh * kWide;  // pixels of y
  static constexpr int kOutputs = kStride == 1 ? 4 : 2;  // neighbours of a line that a thread makes
  static constexpr int kWarpM = kBlockM / kWarps, kWarpN = kColumns_, kTurnLd = kWarpN + 4;
  static constexpr int kHidden = kRowBytes / 2;  // channels of a chunk
  static constexpr int kSeenHigh = (kHigh - 1) * kStride + 3, kSeenWide = (kWide - 1) * kStride + 3;  // pixels of x
  static constexpr int kSeen = (kSeenHigh * kSeenWide + 15) / 16 * 16;
  static constexpr int kSeenBytes = kSeen * kRowBytes;  // of 32 channels
  // Between pixels' hidden channels: 8 neighbours whose words a warp stores, and two pieces of 4 that it loads at once,
  // which are 4 pixels apart, lie in different banks.
  static constexpr int kHiddenRow = kRowBytes + 16, kHiddenBytes = kSeen * kHiddenRow;
  static constexpr int kMiddleBytes = kBlockM * kRowBytes, kTurnBytes = kWarps * 16 * kTurnLd * 4;
  // Rows of a chunk's weights behind those of w1: w3, the taps of w2, two of b1, two of b2.
  static constexpr int kTaps = 9, kBias1 = kTaps, kBias2 = kTaps + 2, kRows = kWarpN + kTaps + 4;
  static_assert(kTurnBytes <= kSeenBytes + kHiddenBytes);
  static_assert(32 / kRowPieces * kOutputs == kWarpM);  // pixels that a warp makes, and multiplies
  static_assert(kHigh * kWide / kOutputs * kRowPieces == kThreads);

  static constexpr int chunk_bytes(int tiles) { return (tiles * kHidden + kRows) * kRowBytes; }
  static constexpr int shared_bytes(int tiles) {
    return tiles * kSeenBytes + kHiddenBytes + kMiddleBytes + 2 * chunk_bytes(tiles);
  }
};

// Where a block's tile begins.
struct TileSpot {
  int image, oy, ox;
};

template <class Tile>
struct InvertedResidualMemory {
  char *x = shared(), *hidden, *middle, *weights;
  PYCNN_DEVICE explicit InvertedResidualMemory(const InvertedResidualArgs& a) {
    hidden = x + a.tiles * Tile::kSeenBytes;
    middle = hidden + Tile::kHiddenBytes;
    weights = middle + Tile::kMiddleBytes;
  }
};

// Number `e` of a chunk's 32 biases, in two rows from `row` on.
PYCNN_DEVICE float chunk_bias(const char* rows, int row, int e) {
  const char* at = rows + place(row + e / 16, e / 4 % 4);
  return shared_load(reinterpret_cast<const float*>(at) + e % 4);
}

// Whether row `row` of x in shared memory is a pixel of the map, and which.
template <class Tile>
PYCNN_DEVICE bool seen_pixel(const ConvArgs& a, const TileSpot& at, int row, int& pixel) {
  const int line = row / Tile::kSeenWide, column = row - line * Tile::kSeenWide;
  const int y = at.oy * Tile::kStride - a.ph + line, x = at.ox * Tile::kStride - a.pw + column;
  pixel = (at.image * a.h + y) * a.width + x;
  return line < Tile::kSeenHigh && y >= 0 && y < a.h && x >= 0 && x < a.width;
}

template <class Tile>
PYCNN_DEVICE void fetch_seen(const InvertedResidualArgs& a, const TileSpot& at, char* to) {
  using T = typename Storage<Tile::kMath>::Type;
  const int pieces = a.tiles * kRowPieces;
#pragma unroll 1
  for (int item = thread(); item < Tile::kSeen * pieces; item += Tile::kThreads) {
    const int row = item / pieces, piece = item - row * pieces, first = piece * kPiece<T>;
    int pixel, count = a.conv.c - first;
    const bool there = seen_pixel<Tile>(a.conv, at, row, pixel) && count > 0;
    count = there ? count > kPiece<T> ? kPiece<T> : count : 0;
    const T* from = static_cast<const T*>(a.conv.x) + (there ? pixel * a.conv.ldx + first : 0);
    cp_async16(to + piece / kRowPieces * Tile::kSeenBytes + place(row, piece % kRowPieces), from,
               count * static_cast<int>(sizeof(T)));
  }
}

// Which of the rows of x that this thread finishes are pixels of the map: bits 2 i and 2 i + 1 are of its i-th 16 rows.
template <class Tile>
PYCNN_DEVICE uint32_t own_pixels(const ConvArgs& a, const TileSpot& at) {
  uint32_t found = 0;
  int bit = 0, pixel;
#pragma unroll 1
  for (int first = thread() / 32 * 16; first < Tile::kSeen; first += Tile::kWarps * 16)
#pragma unroll
    for (int half = 0; half < 2; ++half, ++bit)
      if (seen_pixel<Tile>(a, at, first + thread() % 32 / 4 + half * 8, pixel)) found |= 1u << bit;
  return found;
}

// A chunk's hidden channels of every pixel seen; w1: its tiles, `rows` what comes behind them.
template <class Tile>
PYCNN_DEVICE void expand(const InvertedResidualArgs& a, const InvertedResidualMemory<Tile>& memory, uint32_t own,
                         const char* w1, const char* rows) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kN = Tile::kHidden / 8;
  const int lane = thread() % 32;
  float bias[kN][2];
#pragma unroll
  for (int j = 0; j < kN; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) bias[j][e] = chunk_bias(rows, Tile::kBias1, j * 8 + lane % 4 * 2 + e);
#pragma unroll 1
  for (int first = thread() / 32 * 16; first < Tile::kSeen; first += Tile::kWarps * 16, own >>= 2) {
    float sums[1][kN][4] = {};
#pragma unroll 1
    for (int tile = 0; tile < a.tiles; ++tile)
      multiply_rows<Tile::kMath, 16, Tile::kHidden>(sums, memory.x + tile * Tile::kSeenBytes, first,
                                                    w1 + tile * Tile::kHidden * kRowBytes, 0);
#pragma unroll
    for (int j = 0; j < kN; ++j)
#pragma unroll
      for (int v = 0; v < 4; ++v) sums[0][j][v] += bias[j][v % 2];
    activate(reinterpret_cast<float (&)[kN * 4]>(sums), a.act, a.act_param);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + lane / 4 + half * 8;
      const bool there = own >> half & 1;
#pragma unroll
      for (int j = 0; j < kN; ++j) {
        const float* two = &sums[0][j][half * 2];
        const uint32_t word = there ? pack_two<T>(two[0], two[1]) : 0u;
        shared_store(reinterpret_cast<uint32_t*>(memory.hidden + row * Tile::kHiddenRow + j * 16) + lane % 4, word);
      }
    }
  }
}

// The depthwise window of a chunk: this thread's piece of kOutputs neighbours.
template <class Tile>
PYCNN_DEVICE void depthwise(const InvertedResidualArgs& a, const InvertedResidualMemory<Tile>& memory,
                            const char* rows) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kOutputs = Tile::kOutputs, kElements = kPiece<T>;
  const int piece = thread() % kRowPieces, spot = thread() / kRowPieces;
  const int line = spot * kOutputs / Tile::kWide, column = spot * kOutputs % Tile::kWide;
  float sum[kOutputs][kElements] = {};
#pragma unroll 1
  for (int i = 0; i < 3; ++i) {
    float w[3][kElements], v[kElements];
#pragma unroll
    for (int j = 0; j < 3; ++j) unpack<T>(shared_load16(rows + place(i * 3 + j, piece)), w[j]);
    const int first = (line * Tile::kStride + i) * Tile::kSeenWide + column * Tile::kStride;
    const char* from = memory.hidden + first * Tile::kHiddenRow + piece * 16;
#pragma unroll
    for (int x = 0; x < (kOutputs - 1) * Tile::kStride + 3; ++x) {
      unpack<T>(shared_load16(from + x * Tile::kHiddenRow), v);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        const int j = x - o * Tile::kStride;
        if (j < 0 || j >= 3) continue;
#pragma unroll
        for (int e = 0; e < kElements; ++e) sum[o][e] += v[e] * w[j][e];
      }
    }
  }
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    const float bias = chunk_bias(rows, Tile::kBias2, piece * kElements + e);
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) sum[o][e] += bias;
  }
  activate(reinterpret_cast<float (&)[kOutputs * kElements]>(sum), a.dw_act, a.dw_param);
#pragma unroll
  for (int o = 0; o < kOutputs; ++o)
    shared_store16(memory.middle + place(line * Tile::kWide + column + o, piece), pack_piece<T>(sum[o]));
}

template <class Tile>
PYCNN_GLOBAL(Tile::kThreads)
inverted_residual(InvertedResidualArgs a) {
  const ConvArgs& c = a.conv;
  const int tile = static_cast<int>(block_x()), above = tile / a.across, image = above / a.down, warp = thread() / 32;
  const TileSpot at{image, (above - image * a.down) * Tile::kHigh, (tile - above * a.across) * Tile::kWide};
  const InvertedResidualMemory<Tile> memory(a);
  const auto fetch = [&](int chunk) {
    const char* from = static_cast<const char*>(a.w) + static_cast<int64_t>(chunk) * a.chunk_bytes;
    if (chunk < a.chunks)
      copy_tiles<Tile::kThreads>(memory.weights + chunk % 2 * a.chunk_bytes, from, a.chunk_bytes / 16);
  };
  fetch(0);  // weights do not depend on the kernels before
  wait_for_earlier();
  fetch_seen<Tile>(a, at, memory.x);
  cp_async_commit();
  const uint32_t own = own_pixels<Tile>(c, at);
  float acc[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
#pragma unroll 1
  for (int chunk = 0; chunk < a.chunks; ++chunk) {
    const char* w1 = memory.weights + chunk % 2 * a.chunk_bytes;
    const char *w3 = w1 + a.tiles * Tile::kHidden * kRowBytes, *rows = w3 + Tile::kWarpN * kRowBytes;
    cp_async_wait<0>();
    sync();  // everyone's copies of this chunk have landed, and the buffer filled next has been read by all
    fetch(chunk + 1);
    cp_async_commit();
    expand<Tile>(a, memory, own, w1, rows);
    sync();
    depthwise<Tile>(a, memory, rows);
    sync_warp();  // a warp multiplies the pixels that its own threads made
    multiply_rows<Tile::kMath, Tile::kWarpM, Tile::kWarpN>(acc, memory.middle, warp * Tile::kWarpM, w3, 0);
  }
  const auto target = [&](int row) -> int64_t {
    const int oy = at.oy + row / Tile::kWide, ox = at.ox + row % Tile::kWide;
    return oy < c.oh && ox < c.ow ? (static_cast<int64_t>(image) * c.oh + oy) * c.ow + ox : -1;
  };
  // Sums are turned around where x was, which nobody reads any more, and hidden, which others may.
  if constexpr (Tile::kTurnBytes > Tile::kSeenBytes) sync();
  conv_epilogue_at<Tile>(c, acc, shared() + warp * 16 * Tile::kTurnLd * 4, warp * Tile::kWarpM, 0, target);
}

}  // namespace pycnn::cuda
