#include "ops/elementwise/simd.h"

namespace pycnn {

KernelList<ElementwiseParams> elementwise_kernels() {
  static const ElementwiseKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::elementwise_rows,
      &isa_avx2::elementwise_rows,
#endif
      &isa_baseline::elementwise_rows,
      &elementwise_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
