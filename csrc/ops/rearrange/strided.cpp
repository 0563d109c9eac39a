// A block of kRows x all of axis 7 at a time: rows of whole vectors where both sides are adjacent along axis 7, tiles of
// vectors where x is adjacent along axis 6, pairs of vectors interleaved where axis 7 has two entries; else one by one.
#include "base/simd/transpose.h"
#include "ops/rearrange/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kRows = 256;
constexpr int64_t kTile = 16;

void copy_row(const Element* x, Element* y, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(y + i, load(x + i));
  if (i < count) store_first(y + i, load_first(x + i, count - i), count - i);
}

// y[2 * i + j] = x[i + j * ldx], j < 2.
void interleave(const Element* x, int64_t ldx, Element* y, int64_t count) {
  IVec low, high;
#pragma GCC unroll 16
  for (int lane = 0; lane < kLanes; ++lane) {
    low[lane] = lane / 2 + lane % 2 * kLanes;
    high[lane] = (kLanes + lane) / 2 + lane % 2 * kLanes;
  }
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec a = load(x + i), b = load(x + ldx + i);
    store(y + 2 * i, __builtin_shuffle(a, b, low));
    store(y + 2 * i + kLanes, __builtin_shuffle(a, b, high));
  }
  for (; i < count; ++i) y[2 * i] = x[i], y[2 * i + 1] = x[ldx + i];
}

void copy_block(const RearrangeParams& p, const Element* x, Element* y, int64_t rows) {
  const int64_t x6 = p.x[6], x7 = p.x[7], y6 = p.y[6], y7 = p.y[7], columns = p.size[7];
  if (x7 == 1 && y7 == 1) {
    for (int64_t i = 0; i < rows; ++i) copy_row(x + i * x6, y + i * y6, columns);
  } else if (x6 == 1 && y7 == 1 && columns == 2 && y6 == 2) {
    interleave(x, x7, y, rows);
  } else if (x6 == 1 && y7 == 1) {
    for (int64_t i = 0; i < rows; i += kTile)
      transpose(x + i, x7, y + i * y6, y6, rows - i < kTile ? rows - i : kTile, columns);
  } else {
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) y[i * y6 + j * y7] = x[i * x6 + j * x7];
  }
}

void run(const RearrangeParams& p, const Ptrs& ptrs, Worker worker) {
  const int64_t blocks = (p.size[6] + kRows - 1) / kRows;
  const Range mine = share(rearrange_planes(p) * blocks, worker);
  for (int64_t item = mine.begin; item < mine.end; ++item) {
    const RearrangeOffsets at = rearrange_plane(p, item / blocks);
    const int64_t row = item % blocks * kRows, left = p.size[6] - row;
    copy_block(p, ptrs.x + at.x + row * p.x[6], ptrs.y + at.y + row * p.y[6], left < kRows ? left : kRows);
  }
}

const char* why_not(const RearrangeParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<RearrangeParams> rearrange_strided{"rearrange_strided_" PYCNN_KERNEL_SUFFIX,
                                                         why_not,
                                                         no_weights<RearrangeParams>,
                                                         pack_nothing<RearrangeParams>,
                                                         no_workspace<RearrangeParams>,
                                                         run};

}  // namespace pycnn::PYCNN_ISA_NS
