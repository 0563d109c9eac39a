// What each instruction set publishes, and the reference.
#pragma once
#include "ops/linear/linear.h"

namespace pycnn {
namespace isa_baseline {
extern const LinearKernel linear_gemm;
}
namespace isa_avx2 {
extern const LinearKernel linear_gemm;
}
namespace isa_avx512 {
extern const LinearKernel linear_gemm;
}
extern const LinearKernel linear_reference;
}  // namespace pycnn
