#include "ops/matmul/simd.h"

namespace pycnn {

KernelList<MatMulParams> matmul_kernels() {
  static const MatMulKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::matmul_panels,
      &isa_avx2::matmul_panels,
#endif
      &isa_baseline::matmul_panels,
      &matmul_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
