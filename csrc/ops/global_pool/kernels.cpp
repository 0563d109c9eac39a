#include "ops/global_pool/simd.h"

namespace pycnn {

KernelList<GlobalPoolParams> global_pool_kernels() {
  static const GlobalPoolKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::global_pool_mean,
      &isa_avx2::global_pool_mean,
#endif
      &isa_baseline::global_pool_mean,
      &global_pool_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
