#include "ops/concat/simd.h"

namespace pycnn {

KernelList<ConcatParams> concat_kernels() {
  static const ConcatKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::concat_copy,
      &isa_avx2::concat_copy,
#endif
      &isa_baseline::concat_copy,
      &concat_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
