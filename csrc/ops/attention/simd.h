// What each instruction set publishes, and the reference.
#pragma once
#include "ops/attention/attention.h"

namespace pycnn {
namespace isa_baseline {
extern const AttentionKernel attention_tiles;
}
namespace isa_avx2 {
extern const AttentionKernel attention_tiles;
}
namespace isa_avx512 {
extern const AttentionKernel attention_tiles;
}
extern const AttentionKernel attention_reference;
}  // namespace pycnn
