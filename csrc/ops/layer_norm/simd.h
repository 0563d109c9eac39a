// What each instruction set publishes, and the reference.
#pragma once
#include "ops/layer_norm/layer_norm.h"

namespace pycnn {
namespace isa_baseline {
extern const LayerNormKernel layer_norm_rows;
}
namespace isa_avx2 {
extern const LayerNormKernel layer_norm_rows;
}
namespace isa_avx512 {
extern const LayerNormKernel layer_norm_rows;
}
extern const LayerNormKernel layer_norm_reference;
}  // namespace pycnn
