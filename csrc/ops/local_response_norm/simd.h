// What each instruction set publishes, and the reference.
#pragma once
#include "ops/local_response_norm/local_response_norm.h"

namespace pycnn {
namespace isa_baseline {
extern const LocalResponseNormKernel local_response_norm_rows;
}
namespace isa_avx2 {
extern const LocalResponseNormKernel local_response_norm_rows;
}
namespace isa_avx512 {
extern const LocalResponseNormKernel local_response_norm_rows;
}
extern const LocalResponseNormKernel local_response_norm_reference;
}  // namespace pycnn
