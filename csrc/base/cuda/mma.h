// Products of tiles in shared memory on tensor cores. A tile's rows are 64 bytes of the reduction, four pieces of 16
// bytes, the piece q of row r at place q ^ (r / 2 % 4): the eight rows of one 8 x 16-byte matrix then lie in different
// banks. One step of the product takes two pieces: 16 bf16 or fp16, 8 TF32.
#pragma once
#include "base/cuda/device.h"

namespace pycnn::cuda {

// kF32 splits each value in two TF32 and takes three products: the error is that of fp32 sums. An infinity becomes NaN,
// since it meets the zero half of some value.
enum class Math { kBf16, kF16, kTf32, kF32 };

template <Math kMath>
struct Storage {
  using Type = float;
};
template <>
struct Storage<Math::kBf16> {
  using Type = Bf16;
};
template <>
struct Storage<Math::kF16> {
  using Type = F16;
};

inline constexpr int kRowBytes = 64;
inline constexpr int kRowPieces = 4;
inline constexpr int kSteps = 2;  // products a row

PYCNN_DEVICE int place(int row, int piece) { return row * kRowBytes + ((piece ^ (row >> 1 & 3)) << 4); }

// Copies packed rows, in `pieces` pieces of 16 bytes, to the places of a tile's; by all kThreads of a block. Tiles begin at
// multiples of 8 rows, so that several may be copied as one.
template <int kThreads>
PYCNN_DEVICE void copy_tiles(char* to, const char* from, int pieces) {
#pragma unroll 1
  for (int piece = thread(); piece < pieces; piece += kThreads)
    cp_async16(to + place(piece / kRowPieces, piece % kRowPieces), from + piece * 16, 16);
}

// Fragments of kTiles tiles, kWords registers each, with the other half of the split beside them where kMath needs it.
template <Math kMath, int kTiles, int kWords>
struct Fragments {
  static constexpr bool kSplit = kMath == Math::kF32;
  uint32_t high[kTiles][kWords];
  uint32_t low[kSplit ? kTiles : 1][kWords];

  PYCNN_DEVICE void put(int tile, int i, uint32_t word) {
    if constexpr (kMath == Math::kTf32 || kMath == Math::kF32) {
      const float v = bits_float(word), rounded = round_tf32(v);
      high[tile][i] = float_bits(rounded);
      // Infinity minus itself would be NaN.
      if constexpr (kSplit)
        low[tile][i] = (word & 0x7f800000u) == 0x7f800000u ? 0 : float_bits(round_tf32(v - rounded));
    } else {
      high[tile][i] = word;
    }
  }
};

template <Math kMath>
PYCNN_DEVICE void mma_words(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kMath == Math::kBf16) {
    mma_bf16(c, a, b);
  } else if constexpr (kMath == Math::kF16) {
    mma_f16(c, a, b);
  } else {
    mma_tf32(c, a, b);
  }
}

// acc[i][j], the 16 x 8 tile at rows 16 i of A and 8 j of B, += A B^T over one pair of rows' 64 bytes. a, b: first row
// of this warp's part.
template <Math kMath, int kM, int kN>
PYCNN_DEVICE void multiply_rows(float (&acc)[kM / 16][kN / 8][4], const char* a, int a_row, const char* b, int b_row) {
  const int lane = thread() % 32, matrix = lane / 8;
#pragma unroll 1  // unrolled, the 128 x 128 tile of sm_90a spills 24 bytes
  for (int step = 0; step < kSteps; ++step) {
    Fragments<kMath, kM / 16, 4> fa;
    Fragments<kMath, kN / 8, 2> fb;
    uint32_t words[4];
#pragma unroll
    for (int i = 0; i < kM / 16; ++i) {
      ldmatrix_x4(words, a + place(a_row + i * 16 + lane % 8 + matrix % 2 * 8, step * 2 + matrix / 2));
#pragma unroll
      for (int word = 0; word < 4; ++word) fa.put(i, word, words[word]);
    }
#pragma unroll
    for (int j = 0; j < kN / 16; ++j) {
      ldmatrix_x4(words, b + place(b_row + j * 16 + lane % 8 + matrix / 2 * 8, step * 2 + matrix % 2));
#pragma unroll
      for (int word = 0; word < 4; ++word) fb.put(j * 2 + word / 2, word % 2, words[word]);
    }
#pragma unroll
    for (int i = 0; i < kM / 16; ++i)
#pragma unroll
      for (int j = 0; j < kN / 8; ++j) {
        if constexpr (kMath == Math::kF32) {  // the small products first
          mma_words<kMath>(acc[i][j], fa.low[i], fb.high[j]);
          mma_words<kMath>(acc[i][j], fa.high[i], fb.low[j]);
        }
        mma_words<kMath>(acc[i][j], fa.high[i], fb.high[j]);
      }
  }
}

// The same over one step of B's rows, first rows of a tile, with A's fragments in registers, 16 rows each.
template <Math kMath, int kM, int kN>
PYCNN_DEVICE void multiply_held(float (&acc)[kM / 16][kN / 8][4], const uint32_t (&a)[kM / 16][4], const char* b,
                                int step) {
  const int lane = thread() % 32, matrix = lane / 8;
  uint32_t words[4];
#pragma unroll
  for (int j = 0; j < kN / 16; ++j) {
    ldmatrix_x4(words, b + place(j * 16 + lane % 8 + matrix / 2 * 8, step * 2 + matrix % 2));
    const uint32_t low[2] = {words[0], words[1]}, high[2] = {words[2], words[3]};
#pragma unroll
    for (int i = 0; i < kM / 16; ++i) {
      mma_words<kMath>(acc[i][j * 2], a[i], low);
      mma_words<kMath>(acc[i][j * 2 + 1], a[i], high);
    }
  }
}

}  // namespace pycnn::cuda
