// What each instruction set publishes, and the reference.
#pragma once
#include "ops/group_norm/group_norm.h"

namespace pycnn {
namespace isa_baseline {
extern const GroupNormKernel group_norm_maps;
extern const GroupNormKernel group_norm_planar;
}  // namespace isa_baseline
namespace isa_avx2 {
extern const GroupNormKernel group_norm_maps;
extern const GroupNormKernel group_norm_planar;
}  // namespace isa_avx2
namespace isa_avx512 {
extern const GroupNormKernel group_norm_maps;
extern const GroupNormKernel group_norm_planar;
}  // namespace isa_avx512
extern const GroupNormKernel group_norm_reference;
}  // namespace pycnn
