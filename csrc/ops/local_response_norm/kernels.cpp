#include "ops/local_response_norm/simd.h"

namespace pycnn {

KernelList<LocalResponseNormParams> local_response_norm_kernels() {
  static const LocalResponseNormKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::local_response_norm_rows,
      &isa_avx2::local_response_norm_rows,
#endif
      &isa_baseline::local_response_norm_rows,
      &local_response_norm_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
