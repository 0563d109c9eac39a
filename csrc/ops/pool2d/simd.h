// What each instruction set publishes, and the reference.
#pragma once
#include "ops/pool2d/pool2d.h"

namespace pycnn {
namespace isa_baseline {
extern const Pool2dKernel pool2d_walk3x3, pool2d_window;
}
namespace isa_avx2 {
extern const Pool2dKernel pool2d_walk3x3, pool2d_window;
}
namespace isa_avx512 {
extern const Pool2dKernel pool2d_walk3x3, pool2d_window;
}
extern const Pool2dKernel pool2d_reference;
}  // namespace pycnn
