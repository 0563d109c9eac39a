#include "ops/layer_norm/simd.h"

namespace pycnn {

KernelList<LayerNormParams> layer_norm_kernels() {
  static const LayerNormKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::layer_norm_rows,
      &isa_avx2::layer_norm_rows,
#endif
      &isa_baseline::layer_norm_rows,
      &layer_norm_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
