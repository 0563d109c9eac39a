// What each instruction set publishes, and the reference.
#pragma once
#include "ops/rearrange/rearrange.h"

namespace pycnn {
namespace isa_baseline {
extern const RearrangeKernel rearrange_strided;
}
namespace isa_avx2 {
extern const RearrangeKernel rearrange_strided;
}
namespace isa_avx512 {
extern const RearrangeKernel rearrange_strided;
}
extern const RearrangeKernel rearrange_reference;
}  // namespace pycnn
