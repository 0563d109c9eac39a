// What windows are reduced by: the largest, or the sum over a divisor.
#pragma once
#include "base/simd/element.h"

namespace pycnn::PYCNN_ISA_NS {

// A lane starts at -inf and is replaced by what is larger or NaN; NaN is never replaced.
struct Max {
  static __attribute__((always_inline)) inline Vec start() { return broadcast(-__builtin_inff()); }
  static __attribute__((always_inline)) inline Vec add(Vec acc, Vec x) { return max_nan(x, acc); }
  static __attribute__((always_inline)) inline Vec finish(Vec acc, float) { return acc; }
};

struct Average {
  static __attribute__((always_inline)) inline Vec start() { return Vec{}; }
  static __attribute__((always_inline)) inline Vec add(Vec acc, Vec x) { return acc + x; }
  static __attribute__((always_inline)) inline Vec finish(Vec acc, float divisor) { return acc / broadcast(divisor); }
};

}  // namespace pycnn::PYCNN_ISA_NS
