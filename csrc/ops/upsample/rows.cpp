// A row of outputs at a time, vectors over channels.
#include "base/simd/element.h"
#include "ops/upsample/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// y[0 .. c) = x[0 .. c)
PYCNN_INLINE void copy(const Element* x, Element* y, int64_t c) {
  int64_t k = 0;
  for (; k + kLanes <= c; k += kLanes) store(y + k, load(x + k));
  if (k < c) store_first(y + k, load_first(x + k, c - k), c - k);
}

// The four pixels around a source position and their weights.
struct Quad {
  const Element* x[4];
  float weight[4];
};

PYCNN_INLINE void blend(const Quad& q, Element* y, int64_t c) {
  Vec weight[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) weight[i] = broadcast(q.weight[i]);
  int64_t k = 0;
  for (; k + kLanes <= c; k += kLanes)
    store(y + k, (weight[0] * load(q.x[0] + k) + weight[1] * load(q.x[1] + k)) +
                     (weight[2] * load(q.x[2] + k) + weight[3] * load(q.x[3] + k)));
  if (k == c) return;
  const int64_t rest = c - k;
  store_first(y + k,
              (weight[0] * load_first(q.x[0] + k, rest) + weight[1] * load_first(q.x[1] + k, rest)) +
                  (weight[2] * load_first(q.x[2] + k, rest) + weight[3] * load_first(q.x[3] + k, rest)),
              rest);
}

// Columns a block: their source positions are found once and serve all rows of the worker.
constexpr int64_t kColumns = 128;

struct Columns {
  int64_t begin, end;
  UpsampleTap taps[kColumns];  // offsets in floats; nearest: low alone
};

void find(const UpsampleParams& p, int64_t begin, Columns& columns) {
  const double step = upsample_step(p.mode, p.w, p.ow, p.factor_w);
  columns.begin = begin;
  columns.end = begin + kColumns < p.ow ? begin + kColumns : p.ow;
  for (int64_t ox = begin; ox < columns.end; ++ox) {
    UpsampleTap& tap = columns.taps[ox - begin];
    if (p.mode == UpsampleMode::kNearest) {
      tap = {upsample_nearest(ox, p.w, static_cast<float>(step)) * p.ldx, 0, 0};
    } else {
      tap = upsample_tap(p.mode, ox, p.w, step);
      tap.low *= p.ldx, tap.high *= p.ldx;
    }
  }
}

void nearest_row(const UpsampleParams& p, const Columns& columns, const Element* x, int64_t oy, Element* y) {
  const float step = static_cast<float>(upsample_step(p.mode, p.h, p.oh, p.factor_h));
  const Element* row = x + upsample_nearest(oy, p.h, step) * p.w * p.ldx;
  for (int64_t i = 0; i < columns.end - columns.begin; ++i, y += p.ldy) copy(row + columns.taps[i].low, y, p.c);
}

void bilinear_row(const UpsampleParams& p, const Columns& columns, const Element* x, int64_t oy, Element* y) {
  const UpsampleTap v = upsample_tap(p.mode, oy, p.h, upsample_step(p.mode, p.h, p.oh, p.factor_h));
  const Element* top = x + v.low * p.w * p.ldx;
  const Element* bottom = x + v.high * p.w * p.ldx;
  const float above = 1 - v.weight;
  for (int64_t i = 0; i < columns.end - columns.begin; ++i, y += p.ldy) {
    const UpsampleTap u = columns.taps[i];
    const float left = 1 - u.weight;
    const Quad quad = {
        {top + u.low, top + u.high, bottom + u.low, bottom + u.high},
        {above * left, above * u.weight, v.weight * left, v.weight * u.weight},
    };
    blend(quad, y, p.c);
  }
}

void run(const UpsampleParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.n * p.oh, worker);
  Columns columns;
  for (int64_t begin = 0; begin < p.ow; begin += kColumns) {
    find(p, begin, columns);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const Element* x = ptrs.x + row / p.oh * p.h * p.w * p.ldx;
      Element* y = ptrs.y + (row * p.ow + begin) * p.ldy;
      if (p.mode == UpsampleMode::kNearest)
        nearest_row(p, columns, x, row % p.oh, y);
      else
        bilinear_row(p, columns, x, row % p.oh, y);
    }
  }
}

const char* why_not(const UpsampleParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  return p.y_nchw ? "writes NHWC" : nullptr;
}

}  // namespace

extern const KernelOf<UpsampleParams> upsample_rows{"upsample_rows_" PYCNN_KERNEL_SUFFIX, why_not,
                                                    no_weights<UpsampleParams>,           pack_nothing<UpsampleParams>,
                                                    no_workspace<UpsampleParams>,         run};

}  // namespace pycnn::PYCNN_ISA_NS
