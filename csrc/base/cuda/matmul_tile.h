// Batched products of operands that lie anywhere, on tensor cores: y[p, i, j] = scale * sum_c a[p, i, c] b[p, c, j]
// + r[p, i, j]. A block computes kBlockM x kBlockN results of one entry p; both operands are rows of the reduction in
// shared memory, fetched in the way their strides allow, tile by tile as in conv_tile.h.
#pragma once
#include "base/cuda/conv_tile.h"

namespace pycnn::cuda {

// How rows of the reduction are fetched.
enum class Fetch : int {
  kAlong,     // c is adjacent: pieces of 16 bytes by cp.async
  kAcross,    // rows are adjacent: pieces of 16 bytes, one element for each of several rows
  kElements,  // one by one
};

// Element (i, c) of an operand's entry lies at i * row + c * column; `rows` of them.
struct MatMulSide {
  const void* at;
  int64_t row, column;
  int rows;
  Fetch fetch;
};

inline constexpr int kBatchAxes = 4;

// Element (i, j) lies at i * row + j * column; wide: 16-byte pieces along j are aligned.
struct MatMulPlane {
  const void* at;
  int64_t row, column;
  int wide;
};

struct MatMulArgs {
  MatMulSide a, b;
  MatMulPlane r, y;  // r.at may be null
  int c, tiles;      // products of a sum; tiles of them
  int m_tiles, n_tiles;
  // Entry p of the batch: sizes, and what a, b, r and y move along each axis.
  int size[kBatchAxes];
  int64_t apart[4][kBatchAxes];
  float scale;
};

// Elements from one entry's start to the first one's, of a, b, r and y.
struct MatMulEntry {
  int64_t at[4];

  PYCNN_DEVICE static MatMulEntry of(const MatMulArgs& a, int entry) {
    MatMulEntry found{};
#pragma unroll
    for (int axis = kBatchAxes - 1; axis >= 0; --axis) {
      const int before = entry / a.size[axis], place = entry - before * a.size[axis];
#pragma unroll
      for (int operand = 0; operand < 4; ++operand) found.at[operand] += place * a.apart[operand][axis];
      entry = before;
    }
    return found;
  }
};

// The element e of a piece.
template <class T>
PYCNN_DEVICE T element_of(const Vec16& piece, int e) {
  if constexpr (sizeof(T) == 4) {
    return bits_float(piece.word[e]);
  } else {
    return T{static_cast<uint16_t>(piece.word[e / 2] >> e % 2 * 16)};
  }
}

// Rows first_row .. first_row + kRows - 1 of the tile of the reduction that begins at `first`, zeros where nothing is.
template <class Tile, int kRows>
PYCNN_DEVICE void fetch_rows(const MatMulSide& side, int64_t start, int first_row, int first, int c, char* tile) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kElements = kPiece<T>, kAcross = kRows / kElements;
  const T* base = static_cast<const T*>(side.at) + start;
  if (side.fetch == Fetch::kAcross) {
    for (int item = thread(); item < Tile::kTileElements * kAcross; item += Tile::kThreads) {
      const int place_c = item / kAcross, row = item % kAcross * kElements, left = side.rows - first_row - row;
      const bool inside = first + place_c < c;
      const T* from = base + (first + place_c) * side.column + first_row + row;
      const Vec16 piece = load16(from, inside && left >= kElements);
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        T v = element_of<T>(piece, e);
        if (inside && left < kElements && e < left) v = load(from + e);
        char* to = tile + place(row + e, place_c / kElements);
        shared_store(reinterpret_cast<T*>(to) + place_c % kElements, v);
      }
    }
    return;
  }
#pragma unroll
  for (int pass = 0; pass < (kRows + Tile::kRowsAPass - 1) / Tile::kRowsAPass; ++pass) {
    const int row = thread() / kRowPieces + pass * Tile::kRowsAPass, piece = thread() % kRowPieces;
    if (kRows % Tile::kRowsAPass != 0 && row >= kRows) continue;
    const int at = first + piece * kElements, left = first_row + row < side.rows ? c - at : 0;
    const int count = left < 0 ? 0 : left < kElements ? left : kElements;
    const T* from = base + (first_row + row) * side.row + at * side.column;
    char* to = tile + place(row, piece);
    if (side.fetch == Fetch::kAlong) {
      cp_async16(to, count > 0 ? from : base, count * static_cast<int>(sizeof(T)));
      continue;
    }
    shared_store16(to, gather_piece(from, side.column, 0, count));
  }
}

// One warp's results, whose first is (first_row, first_column); `turn` is the warp's own shared memory.
template <class Tile>
PYCNN_DEVICE void matmul_epilogue(const MatMulArgs& a, const MatMulEntry& entry,
                                  const float (&acc)[Tile::kWarpM / 16][Tile::kWarpN / 8][4], char* turn, int first_row,
                                  int first_column) {
  using T = typename Storage<Tile::kMath>::Type;
  constexpr int kElements = kPiece<T>, kPieces = Tile::kWarpN / kElements;
  const int lane = thread() % 32;
  float* rows = reinterpret_cast<float*>(turn);
#pragma unroll
  for (int i = 0; i < Tile::kWarpM / 16; ++i) {
    if (i > 0) sync_warp();
    turn_sums<Tile>(acc[i], rows);
    sync_warp();
#pragma unroll
    for (int item = lane; item < 16 * kPieces; item += 32) {
      const int row = first_row + i * 16 + item / kPieces, column = first_column + item % kPieces * kElements;
      const int count = a.b.rows - column < kElements ? a.b.rows - column : kElements;
      if (row >= a.a.rows || count <= 0) continue;
      float v[kElements];
      turned_piece<Tile>(rows, item / kPieces, item % kPieces * kElements, v);
      each(v, [&a](float sum) { return sum * a.scale; });
      if (a.r.at) {
        const T* r = static_cast<const T*>(a.r.at) + entry.at[2] + row * a.r.row + column * a.r.column;
        float added[kElements];
        if (a.r.wide) {
          load_piece(r, count, count == kElements, added);
        } else {
#pragma unroll
          for (int e = 0; e < kElements; ++e) added[e] = e < count ? to_float(load(r + e * a.r.column)) : 0.0f;
        }
#pragma unroll
        for (int e = 0; e < kElements; ++e) v[e] += added[e];
      }
      T* y = static_cast<T*>(const_cast<void*>(a.y.at)) + entry.at[3] + row * a.y.row + column * a.y.column;
      if (a.y.wide) {
        store_piece(y, count, count == kElements, v);
      } else {
#pragma unroll
        for (int e = 0; e < kElements; ++e)
          if (e < count) store(y + e * a.y.column, from_float<T>(v[e]));
      }
    }
  }
}

template <class Tile>
PYCNN_GLOBAL(Tile::kThreads)
matmul_tile(MatMulArgs a) {
  wait_for_earlier();
  const int place = static_cast<int>(block_x() / a.n_tiles), warp = thread() / 32;
  const MatMulEntry entry = MatMulEntry::of(a, place / a.m_tiles);
  const int first_row = place % a.m_tiles * Tile::kBlockM;
  const int first_column = static_cast<int>(block_x() % a.n_tiles) * Tile::kBlockN;
  const auto fetch_tile = [&](char* stage, int tile) {
    const int first = tile * Tile::kTileElements;
    fetch_rows<Tile, Tile::kBlockM>(a.a, entry.at[0], first_row, first, a.c, stage);
    fetch_rows<Tile, Tile::kBlockN>(a.b, entry.at[1], first_column, first, a.c, stage + Tile::kBlockM * kRowBytes);
  };
  float acc[Tile::kWarpM / 16][Tile::kWarpN / 8][4] = {};
  tile_sums<Tile>(a.tiles, fetch_tile, AsItArrived{}, acc);
  matmul_epilogue<Tile>(a, entry, acc, shared() + warp * 16 * Tile::kTurnLd * 4,
                        first_row + warp / Tile::kWarpsN * Tile::kWarpM,
                        first_column + warp % Tile::kWarpsN * Tile::kWarpN);
}

}  // namespace pycnn::cuda
