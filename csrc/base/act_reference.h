// The activations in double, as their formulae read; for reference kernels.
#pragma once
#include <cmath>

#include "base/act.h"

namespace pycnn {

inline double act_reference(double x, Act act, double param) {
  const auto clamp6 = [](double v) { return v < 0 ? 0 : v > 6 ? 6 : v; };
  switch (act) {
    case Act::kRelu:
      return x < 0 ? 0 : x;
    case Act::kRelu6:
      return clamp6(x);
    case Act::kLeakyRelu:
      return x < 0 ? x * param : x;
    case Act::kSilu:
      return x / (1 + std::exp(-x));
    case Act::kHardswish:
      return x * clamp6(x + 3) / 6;
    case Act::kHardsigmoid:
      return clamp6(x + 3) / 6;
    case Act::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Act::kTanh:
      return std::tanh(x);
    case Act::kGelu:
      return 0.5 * x * (1 + std::erf(x * 0.70710678118654752440));
    case Act::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case Act::kMish:
      return x * std::tanh(std::log1p(std::exp(x)));
    case Act::kElu:
      return x < 0 ? param * std::expm1(x) : x;
    default:
      return x;
  }
}

}  // namespace pycnn
