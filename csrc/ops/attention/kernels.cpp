#include "ops/attention/simd.h"

namespace pycnn {

KernelList<AttentionParams> attention_kernels() {
  static const AttentionKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::attention_tiles,
      &isa_avx2::attention_tiles,
#endif
      &isa_baseline::attention_tiles,
      &attention_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
