// Which positions of one axis a window covers. Shared by all kernels; internal linkage, because this header is compiled
// for every instruction set. Int: of the positions; 64-bit divisions are slow on a GPU.
#pragma once
#include "base/dtype.h"
#include "ops/pool2d/pool2d.h"

namespace pycnn {

template <class Int>
struct PoolTapsOf {
  Int first;    // position of the first tap inside the map
  Int count;    // taps inside the map
  Int divisor;  // this axis' factor of the average's divisor
};
using PoolTaps = PoolTapsOf<int64_t>;

template <class Int>
struct PoolAxisOf {
  Int size, out, k, stride, pad, dilation;
  bool adaptive, count_pad;
};
using PoolAxis = PoolAxisOf<int64_t>;

static inline PoolAxis pool_rows(const Pool2dParams& p) {
  return {p.h, p.oh, p.kh, p.sh, p.ph, p.dh, p.adaptive(), p.count_include_pad != 0};
}
static inline PoolAxis pool_columns(const Pool2dParams& p) {
  return {p.w, p.ow, p.kw, p.sw, p.pw, p.dw, p.adaptive(), p.count_include_pad != 0};
}

template <class Int>
static PYCNN_HOST_DEVICE PoolTapsOf<Int> pool_taps(const PoolAxisOf<Int>& a, Int o) {
  if (a.adaptive) {
    const Int first = o * a.size / a.out, end = ((o + 1) * a.size + a.out - 1) / a.out;
    return {first, end - first, end - first};
  }
  const Int start = o * a.stride - a.pad;
  const Int skipped = start < 0 ? (-start + a.dilation - 1) / a.dilation : 0;
  const Int fitting = start < a.size ? (a.size - 1 - start) / a.dilation + 1 : 0;
  const Int end = fitting < a.k ? fitting : a.k;
  const Int count = end > skipped ? end - skipped : 0;
  const Int padded_end = a.size + a.pad < start + a.k ? a.size + a.pad : start + a.k;
  return {start + skipped * a.dilation, count, a.count_pad ? padded_end - start : count};
}

static inline int64_t pool_divisor(const Pool2dParams& p, const PoolTaps& rows, const PoolTaps& columns) {
  return p.divisor_override != 0 && !p.adaptive() ? p.divisor_override : rows.divisor * columns.divisor;
}

}  // namespace pycnn
