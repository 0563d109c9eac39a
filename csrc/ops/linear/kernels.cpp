#include "ops/linear/simd.h"

namespace pycnn {

KernelList<LinearParams> linear_kernels() {
  static const LinearKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::linear_gemm,
      &isa_avx2::linear_gemm,
#endif
      &isa_baseline::linear_gemm,
      &linear_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
