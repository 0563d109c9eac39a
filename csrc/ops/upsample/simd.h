// What each instruction set publishes, and the reference.
#pragma once
#include "ops/upsample/upsample.h"

namespace pycnn {
namespace isa_baseline {
extern const UpsampleKernel upsample_planes;
extern const UpsampleKernel upsample_rows;
}  // namespace isa_baseline
namespace isa_avx2 {
extern const UpsampleKernel upsample_planes;
extern const UpsampleKernel upsample_rows;
}  // namespace isa_avx2
namespace isa_avx512 {
extern const UpsampleKernel upsample_planes;
extern const UpsampleKernel upsample_rows;
}  // namespace isa_avx512
extern const UpsampleKernel upsample_reference;
}  // namespace pycnn
