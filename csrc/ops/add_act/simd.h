// What each instruction set publishes, and the reference.
#pragma once
#include "ops/add_act/add_act.h"

namespace pycnn {
namespace isa_baseline {
extern const AddActKernel add_act_rows;
}
namespace isa_avx2 {
extern const AddActKernel add_act_rows;
}
namespace isa_avx512 {
extern const AddActKernel add_act_rows;
}
extern const AddActKernel add_act_reference;
}  // namespace pycnn
