// One output pixel at a time, vectors over channels: a window is a small grid of rows of c floats, reduced in (i, j)
// order whatever the split of the work. Windows that lie inside the map and are 2x2 or 3x3 have their loops unrolled.
#include "ops/pool2d/reduce.h"
#include "ops/pool2d/simd.h"
#include "ops/pool2d/taps.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int kVectors = 4;  // channels in flight: kVectors * kLanes, so that the reductions do not wait for each other

struct Window {
  const Element* x;      // first tap inside the map
  int64_t line, column;  // elements from a tap to the next one below, to the next one on the right
  int64_t rows, columns;
  float divisor;
};

// K: rows = columns = K, known when compiling; 0: as the window says.
template <class Op, int K>
PYCNN_INLINE void reduce(const Window& w, int64_t c, Element* y) {
  const int64_t rows = K ? K : w.rows, columns = K ? K : w.columns;
  const auto each_tap = [&](auto&& tap) __attribute__((always_inline)) {
#pragma GCC unroll 3
    for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 3
      for (int64_t j = 0; j < columns; ++j) tap(w.x + i * w.line + j * w.column);
  };
  int64_t k = 0;
  for (; k + kVectors * kLanes <= c; k += kVectors * kLanes) {
    Vec acc[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[v] = Op::start();
    each_tap([&](const Element* at) __attribute__((always_inline)) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) acc[v] = Op::add(acc[v], load(at + k + v * kLanes));
    });
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(y + k + v * kLanes, Op::finish(acc[v], w.divisor));
  }
  for (; k + kLanes <= c; k += kLanes) {
    Vec acc = Op::start();
    each_tap([&](const Element* at) __attribute__((always_inline)) { acc = Op::add(acc, load(at + k)); });
    store(y + k, Op::finish(acc, w.divisor));
  }
  if (k < c) {
    Vec acc = Op::start();
    each_tap([&](const Element* at) __attribute__((always_inline)) { acc = Op::add(acc, load_first(at + k, c - k)); });
    store_first(y + k, Op::finish(acc, w.divisor), c - k);
  }
}

template <class Op>
void pixels(const Pool2dParams& p, const Ptrs& ptrs, Range share) {
  const PoolAxis row_axis = pool_rows(p), column_axis = pool_columns(p);
  for (int64_t pixel = share.begin; pixel < share.end;) {
    const int64_t row = pixel / p.ow, row_end = (row + 1) * p.ow < share.end ? (row + 1) * p.ow : share.end;
    const PoolTaps rows = pool_taps(row_axis, row % p.oh);
    const Element* line = ptrs.x + (row / p.oh * p.h + rows.first) * p.w * p.ldx;
    for (; pixel < row_end; ++pixel) {
      const PoolTaps columns = pool_taps(column_axis, pixel - row * p.ow);
      // A window wholly in the padding has nothing to divide: 1 keeps 0 / 0 away.
      const bool empty = rows.count * columns.count == 0;
      const Window w{line + columns.first * p.ldx,
                     (p.adaptive() ? 1 : p.dh) * p.w * p.ldx,
                     (p.adaptive() ? 1 : p.dw) * p.ldx,
                     rows.count,
                     columns.count,
                     empty ? 1.0f : static_cast<float>(pool_divisor(p, rows, columns))};
      Element* y = ptrs.y + pixel * p.ldy;
      if (w.rows == 2 && w.columns == 2)
        reduce<Op, 2>(w, p.c, y);
      else if (w.rows == 3 && w.columns == 3)
        reduce<Op, 3>(w, p.c, y);
      else
        reduce<Op, 0>(w, p.c, y);
    }
  }
}

void run(const Pool2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range mine = share(p.n * p.oh * p.ow, worker);
  if (p.max())
    pixels<Max>(p, ptrs, mine);
  else
    pixels<Average>(p, ptrs, mine);
}

const char* why_not(const Pool2dParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<Pool2dParams> pool2d_window{
    "pool2d_window_" PYCNN_KERNEL_SUFFIX, why_not, no_weights<Pool2dParams>, pack_nothing<Pool2dParams>,
    no_workspace<Pool2dParams>,           run};

}  // namespace pycnn::PYCNN_ISA_NS
