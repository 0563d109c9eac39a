// What each instruction set publishes, and the reference.
#pragma once
#include "ops/global_pool/global_pool.h"

namespace pycnn {
namespace isa_baseline {
extern const GlobalPoolKernel global_pool_mean;
}
namespace isa_avx2 {
extern const GlobalPoolKernel global_pool_mean;
}
namespace isa_avx512 {
extern const GlobalPoolKernel global_pool_mean;
}
extern const GlobalPoolKernel global_pool_reference;
}  // namespace pycnn
