// Which positions of one axis a window covers. Shared by all kernels; internal linkage, because this header is compiled
// for every instruction set.
#pragma once
#include "ops/pool2d/pool2d.h"

namespace pycnn {

struct PoolTaps {
  int64_t first;    // position of the first tap inside the map
  int64_t count;    // taps inside the map
  int64_t divisor;  // this axis' factor of the average's divisor
};

struct PoolAxis {
  int64_t size, out, k, stride, pad, dilation;
};

static inline PoolAxis pool_rows(const Pool2dParams& p) { return {p.h, p.oh, p.kh, p.sh, p.ph, p.dh}; }
static inline PoolAxis pool_columns(const Pool2dParams& p) { return {p.w, p.ow, p.kw, p.sw, p.pw, p.dw}; }

static inline PoolTaps pool_taps(const Pool2dParams& p, const PoolAxis& a, int64_t o) {
  if (p.adaptive()) {
    const int64_t first = o * a.size / a.out, end = ((o + 1) * a.size + a.out - 1) / a.out;
    return {first, end - first, end - first};
  }
  const int64_t start = o * a.stride - a.pad;
  const int64_t skipped = start < 0 ? (-start + a.dilation - 1) / a.dilation : 0;
  const int64_t fitting = start < a.size ? (a.size - 1 - start) / a.dilation + 1 : 0;
  const int64_t end = fitting < a.k ? fitting : a.k;
  const int64_t count = end > skipped ? end - skipped : 0;
  const int64_t padded_end = a.size + a.pad < start + a.k ? a.size + a.pad : start + a.k;
  return {start + skipped * a.dilation, count, p.count_include_pad ? padded_end - start : count};
}

static inline int64_t pool_divisor(const Pool2dParams& p, const PoolTaps& rows, const PoolTaps& columns) {
  return p.divisor_override != 0 && !p.adaptive() ? p.divisor_override : rows.divisor * columns.divisor;
}

}  // namespace pycnn
