#include "ops/layout/simd.h"

namespace pycnn {

KernelList<LayoutParams> layout_kernels() {
  static const LayoutKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::layout_transpose,
      &isa_avx2::layout_transpose,
#endif
      &isa_baseline::layout_transpose,
      &layout_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
