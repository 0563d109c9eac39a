// What each instruction set publishes, and the reference.
#pragma once
#include "ops/matmul/matmul.h"

namespace pycnn {
namespace isa_baseline {
extern const MatMulKernel matmul_panels;
}
namespace isa_avx2 {
extern const MatMulKernel matmul_panels;
}
namespace isa_avx512 {
extern const MatMulKernel matmul_panels;
}
extern const MatMulKernel matmul_reference;
}  // namespace pycnn
