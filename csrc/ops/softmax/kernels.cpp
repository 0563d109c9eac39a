#include "ops/softmax/simd.h"

namespace pycnn {

KernelList<SoftmaxParams> softmax_kernels() {
  static const SoftmaxKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::softmax_rows,
      &isa_avx2::softmax_rows,
#endif
      &isa_baseline::softmax_rows,
      &softmax_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
