// What each instruction set publishes, and the reference.
#pragma once
#include "ops/concat/concat.h"

namespace pycnn {
namespace isa_baseline {
extern const ConcatKernel concat_copy;
}
namespace isa_avx2 {
extern const ConcatKernel concat_copy;
}
namespace isa_avx512 {
extern const ConcatKernel concat_copy;
}
extern const ConcatKernel concat_reference;
}  // namespace pycnn
