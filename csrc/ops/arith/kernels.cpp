#include "ops/arith/simd.h"

namespace pycnn {

KernelList<ArithParams> arith_kernels() {
  static const ArithKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::arith_rows,
      &isa_avx2::arith_rows,
#endif
      &isa_baseline::arith_rows,
      &arith_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
