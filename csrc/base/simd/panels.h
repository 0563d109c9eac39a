// Panels of values: what TileOf reads as B, made of a matrix of the plan.
#pragma once
#include "base/simd/gemm.h"
#include "base/simd/transpose.h"

namespace pycnn::PYCNN_ISA_NS {

PYCNN_INLINE Vec load_some(const float* p, int64_t n) { return n < kLanes ? load_first(p, n) : load(p); }
PYCNN_INLINE Vec load_some(const Bf16* p, int64_t n) { return n < kLanes ? load_first(p, n) : load(p); }

// One panel of a matrix [depth][columns], columns <= kLanes, whose element (c, j) is from[c * row + j * column]; zero past
// the last column and the last of depth, as pack_panel has it.
static inline void pack_values(const float* from, int64_t row, int64_t column, int64_t depth, int64_t columns,
                               float* panel) {
  if (column == 1) {
    for (int64_t c = 0; c < depth; ++c) store(panel + c * kLanes, load_some(from + c * row, columns));
    return;
  }
  if (columns < kLanes)
    for (int64_t i = 0; i < depth * kLanes; ++i) panel[i] = 0;
  if (row == 1) return transpose(from, column, panel, kLanes, depth, columns);
  for (int64_t c = 0; c < depth; ++c)
    for (int64_t j = 0; j < columns; ++j) panel[c * kLanes + j] = from[c * row + j * column];
}

// Pairs of depth are neighbours in the panel: where they are in the matrix, they are transposed as floats.
static inline void pack_values(const Bf16* from, int64_t row, int64_t column, int64_t depth, int64_t columns,
                               Bf16* panel) {
  const int64_t pairs = depth / 2, whole = whole_steps<Bf16>(depth);
  if (column == 1) {
    for (int64_t c = 0; c < whole; c += 2, panel += 2 * kLanes) {
      const Words low = reinterpret_cast<Words>(load_some(from + c * row, columns)) >> 16;
      Words high{};
      if (c + 1 < depth) high = reinterpret_cast<Words>(load_some(from + (c + 1) * row, columns));
      const Words both = low | high;
      std::memcpy(panel, &both, sizeof both);
    }
    return;
  }
  for (int64_t i = 0; i < whole * kLanes; ++i) panel[i] = Bf16{};
  const auto one = [&](int64_t c) {
    for (int64_t j = 0; j < columns; ++j) panel[(c / 2 * kLanes + j) * 2 + c % 2] = from[c * row + j * column];
  };
  if (row == 1 && column % 2 == 0) {
    transpose(reinterpret_cast<const float*>(from), column / 2, reinterpret_cast<float*>(panel), kLanes, pairs,
              columns);
    if (depth % 2) one(depth - 1);
    return;
  }
  for (int64_t c = 0; c < depth; ++c) one(c);
}

}  // namespace pycnn::PYCNN_ISA_NS
