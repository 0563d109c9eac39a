#include "ops/add_act/simd.h"

namespace pycnn {

KernelList<AddActParams> add_act_kernels() {
  static const AddActKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::add_act_rows,
      &isa_avx2::add_act_rows,
#endif
      &isa_baseline::add_act_rows,
      &add_act_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
