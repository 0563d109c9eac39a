// What each instruction set publishes, and the reference.
#pragma once
#include "ops/elementwise/elementwise.h"

namespace pycnn {
namespace isa_baseline {
extern const ElementwiseKernel elementwise_rows;
}
namespace isa_avx2 {
extern const ElementwiseKernel elementwise_rows;
}
namespace isa_avx512 {
extern const ElementwiseKernel elementwise_rows;
}
extern const ElementwiseKernel elementwise_reference;
}  // namespace pycnn
