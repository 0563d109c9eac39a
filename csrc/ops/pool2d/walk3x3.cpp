// 3 x 3 windows at steps of 1 or 2: a few vectors of channels walk along a row of outputs. Each column of the window is
// reduced once, over its rows, and stays in registers while windows see it.
#include "ops/pool2d/reduce.h"
#include "ops/pool2d/simd.h"
#include "ops/pool2d/taps.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t K = 3;
constexpr int kVectors = 4;

// A row of outputs, from column `begin` up to `end`.
struct Row {
  const Element* x;  // first tap inside the map, column 0
  int64_t line;      // elements from a row of the map to the next
  PoolTaps taps;     // of the rows
  int64_t begin, end;
  Element* y;  // of column `begin`
};

// NV vectors of channels from c on; kTail: NV is 1, and `left` channels of the vector are there.
template <class Op, int S, int NV, bool kTail>
void walk(const Pool2dParams& p, const Row& row, int64_t c, int64_t left) {
  struct Column {
    Vec v[NV];
  };
  const PoolAxis axis = pool_columns(p);
  const auto get = [left](const Element* at)
                       __attribute__((always_inline)) { return kTail ? load_first(at, left) : load(at); };
  const auto column = [&](int64_t at) __attribute__((always_inline)) {
    Column made;
    if (at < 0 || at >= p.w || row.taps.count == 0) {
      for (Vec& v : made.v) v = Op::start();
      return made;
    }
    const Element* from = row.x + at * p.ldx + c;
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) made.v[i] = get(from + i * kLanes);
    for (int64_t r = 1; r < row.taps.count; ++r) {
      from += row.line;
#pragma GCC unroll 4
      for (int i = 0; i < NV; ++i) made.v[i] = Op::add(made.v[i], get(from + i * kLanes));
    }
    return made;
  };
  const auto joined = [](const Column& a, const Column& b) __attribute__((always_inline)) {
    Column made;
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) made.v[i] = Op::add(a.v[i], b.v[i]);
    return made;
  };
  Element* y = row.y + c;
  int64_t at = row.begin * S - p.pw;
  Column first = column(at), second = S == 1 ? column(at + 1) : Column{};
  for (int64_t ox = row.begin; ox < row.end; ++ox, at += S, y += p.ldy) {
    if (S == 2) second = column(at + 1);
    const Column third = column(at + 2), sum = joined(joined(first, second), third);
    const PoolTaps columns = pool_taps(axis, ox);
    const bool empty = row.taps.count * columns.count == 0;
    const float divisor = empty ? 1.0f : static_cast<float>(pool_divisor(p, row.taps, columns));
#pragma GCC unroll 4
    for (int i = 0; i < NV; ++i) {
      const Vec v = Op::finish(sum.v[i], divisor);
      kTail ? store_first(y + i * kLanes, v, left) : store(y + i * kLanes, v);
    }
    first = S == 1 ? second : third;
    if (S == 1) second = third;
  }
}

template <class Op, int S>
void rows(const Pool2dParams& p, const Ptrs& ptrs, Range share) {
  const PoolAxis axis = pool_rows(p);
  for (int64_t pixel = share.begin; pixel < share.end;) {
    const int64_t line = pixel / p.ow, end = (line + 1) * p.ow < share.end ? (line + 1) * p.ow : share.end;
    const PoolTaps taps = pool_taps(axis, line % p.oh);
    const Row row{ptrs.x + (line / p.oh * p.h + taps.first) * p.w * p.ldx,
                  p.w * p.ldx,
                  taps,
                  pixel - line * p.ow,
                  end - line * p.ow,
                  ptrs.y + pixel * p.ldy};
    int64_t c = 0;
    for (; c + kVectors * kLanes <= p.c; c += kVectors * kLanes) walk<Op, S, kVectors, false>(p, row, c, 0);
    for (; c + kLanes <= p.c; c += kLanes) walk<Op, S, 1, false>(p, row, c, 0);
    if (c < p.c) walk<Op, S, 1, true>(p, row, c, p.c - c);
    pixel = end;
  }
}

void run(const Pool2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range mine = share(p.n * p.oh * p.ow, worker);
  if (p.sw == 1)
    p.max() ? rows<Max, 1>(p, ptrs, mine) : rows<Average, 1>(p, ptrs, mine);
  else
    p.max() ? rows<Max, 2>(p, ptrs, mine) : rows<Average, 2>(p, ptrs, mine);
}

const char* why_not(const Pool2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (p.adaptive() || p.kh != K || p.kw != K || p.dh != 1 || p.dw != 1) return "needs a dense window of 3 x 3";
  return p.sw == 1 || p.sw == 2 ? nullptr : "needs steps of 1 or 2 along rows";
}

}  // namespace

extern const KernelOf<Pool2dParams> pool2d_walk3x3{"pool2d_walk3x3_" PYCNN_KERNEL_SUFFIX,
                                                   why_not,
                                                   no_weights<Pool2dParams>,
                                                   pack_nothing<Pool2dParams>,
                                                   no_workspace<Pool2dParams>,
                                                   run};

}  // namespace pycnn::PYCNN_ISA_NS
