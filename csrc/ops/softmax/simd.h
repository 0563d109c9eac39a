// What each instruction set publishes, and the reference.
#pragma once
#include "ops/softmax/softmax.h"

namespace pycnn {
namespace isa_baseline {
extern const SoftmaxKernel softmax_rows;
}
namespace isa_avx2 {
extern const SoftmaxKernel softmax_rows;
}
namespace isa_avx512 {
extern const SoftmaxKernel softmax_rows;
}
extern const SoftmaxKernel softmax_reference;
}  // namespace pycnn
