// What each instruction set publishes, and the reference.
#pragma once
#include "ops/conv_transpose2d/conv_transpose2d.h"

namespace pycnn {
namespace isa_baseline {
extern const ConvTranspose2dKernel conv_transpose2d_phases;
}
namespace isa_avx2 {
extern const ConvTranspose2dKernel conv_transpose2d_phases;
}
namespace isa_avx512 {
extern const ConvTranspose2dKernel conv_transpose2d_phases;
}
extern const ConvTranspose2dKernel conv_transpose2d_reference;
}  // namespace pycnn
