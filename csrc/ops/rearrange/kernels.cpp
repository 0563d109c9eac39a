#include "ops/rearrange/simd.h"

namespace pycnn {

KernelList<RearrangeParams> rearrange_kernels() {
  static const RearrangeKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::rearrange_strided,
      &isa_avx2::rearrange_strided,
#endif
      &isa_baseline::rearrange_strided,
      &rearrange_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
