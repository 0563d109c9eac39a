// Activations of the epilogue. The numbers are part of the Python interface (pycnn/ops/act.py).
#pragma once
#include <cstdint>

namespace pycnn {

enum class Act : int64_t {
  kNone = 0,
  kRelu = 1,         // max(x, 0)
  kRelu6 = 2,        // min(max(x, 0), 6)
  kLeakyRelu = 3,    // x < 0 ? param * x : x
  kSilu = 4,         // x * sigmoid(x)
  kHardswish = 5,    // x * min(max(x + 3, 0), 6) / 6
  kHardsigmoid = 6,  // min(max(x + 3, 0), 6) / 6
  kSigmoid = 7,      // 1 / (1 + exp(-x))
  kTanh = 8,
  kGelu = 9,       // x/2 * (1 + erf(x / sqrt 2))
  kGeluTanh = 10,  // x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
  kMish = 11,      // x * tanh(log(1 + exp(x)))
  kElu = 12,       // x < 0 ? param * (exp(x) - 1) : x
};
inline constexpr int64_t kActCount = 13;

}  // namespace pycnn
