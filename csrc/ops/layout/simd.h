// What each instruction set publishes, and the reference.
#pragma once
#include "ops/layout/layout.h"

namespace pycnn {
namespace isa_baseline {
extern const LayoutKernel layout_transpose;
}
namespace isa_avx2 {
extern const LayoutKernel layout_transpose;
}
namespace isa_avx512 {
extern const LayoutKernel layout_transpose;
}
extern const LayoutKernel layout_reference;
}  // namespace pycnn
