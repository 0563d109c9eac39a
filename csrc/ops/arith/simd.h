// What each instruction set publishes, and the reference.
#pragma once
#include "ops/arith/arith.h"

namespace pycnn {
namespace isa_baseline {
extern const ArithKernel arith_rows;
}
namespace isa_avx2 {
extern const ArithKernel arith_rows;
}
namespace isa_avx512 {
extern const ArithKernel arith_rows;
}
extern const ArithKernel arith_reference;
}  // namespace pycnn
