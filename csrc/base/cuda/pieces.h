// Kernels of one thread for each 16-byte piece of a result of `rows` rows of c elements: neighbours in a warp are
// neighbours in a row, so that a warp's accesses are whole lines. The last piece of a row may be shorter.
#pragma once
#include "base/cuda/elements.h"
#include "base/cuda/kernel.h"

namespace pycnn::cuda {

inline constexpr int kPieceThreads = 256;

struct Pieces {
  uint32_t count;
  int c, each_row;
};

// A tensor of rows ld elements apart; wide: whole pieces of it are aligned.
struct Rows {
  const void* at;
  int64_t ld;
  int wide;
};

template <class T>
constexpr int64_t pieces_of(int64_t c) {
  return (c + kPiece<T> - 1) / kPiece<T>;
}

template <class T>
Pieces pieces(int64_t rows, int64_t c) {
  return {static_cast<uint32_t>(rows * pieces_of<T>(c)), static_cast<int>(c), static_cast<int>(pieces_of<T>(c))};
}

template <class T>
const char* too_many_pieces(int64_t rows, int64_t c) {
  return rows > 0x7fffffff || rows * pieces_of<T>(c) > 0x7fffffff ? "has more than 2^31 pieces of 16 bytes" : nullptr;
}

template <class T>
Rows rows_at(const void* at, int64_t ld) {
  return {at, ld, aligned16(at) && ld % kPiece<T> == 0};
}

// Where a thread's piece is: `count` elements from `channel` on.
struct Piece {
  int64_t row;
  int channel, count;
};

template <class T>
PYCNN_DEVICE void load_rows(const Rows& from, const Piece& p, float (&v)[kPiece<T>]) {
  load_piece(static_cast<const T*>(from.at) + p.row * from.ld + p.channel, p.count, from.wide && p.count == kPiece<T>,
             v);
}

template <class T>
PYCNN_DEVICE void store_rows(const Rows& to, const Piece& p, const float (&v)[kPiece<T>]) {
  T* at = static_cast<T*>(const_cast<void*>(to.at)) + p.row * to.ld + p.channel;
  store_piece(at, p.count, to.wide && p.count == kPiece<T>, v);
}

// Body: Type, Args with a member `pieces`, and make(args, piece).
template <class Body>
PYCNN_GLOBAL(kPieceThreads)
each_piece(typename Body::Args a) {
  wait_for_earlier();
  const uint32_t item = static_cast<uint32_t>(block_x()) * kPieceThreads + static_cast<uint32_t>(thread());
  if (item >= a.pieces.count) return;
  const uint32_t each = static_cast<uint32_t>(a.pieces.each_row), row = item / each;
  const int channel = static_cast<int>(item - row * each) * kPiece<typename Body::Type>;
  const int left = a.pieces.c - channel;
  Body::make(a, {row, channel, left < kPiece<typename Body::Type> ? left : kPiece<typename Body::Type>});
}

template <class Body>
const char* launch_pieces(const typename Body::Args& a, Stream stream) {
  if (a.pieces.count == 0) return nullptr;
  const Grid grid{(static_cast<int64_t>(a.pieces.count) + kPieceThreads - 1) / kPieceThreads, 1};
  return launch<each_piece<Body>>(grid, kPieceThreads, 0, stream, a);
}

}  // namespace pycnn::cuda
