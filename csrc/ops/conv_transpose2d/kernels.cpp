#include "ops/conv_transpose2d/simd.h"

namespace pycnn {

KernelList<ConvTranspose2dParams> conv_transpose2d_kernels() {
  static const ConvTranspose2dKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::conv_transpose2d_phases,
      &isa_avx2::conv_transpose2d_phases,
#endif
      &isa_baseline::conv_transpose2d_phases,
      &conv_transpose2d_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
