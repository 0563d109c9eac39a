#include "ops/pool2d/simd.h"

namespace pycnn {

KernelList<Pool2dParams> pool2d_kernels() {
  static const Pool2dKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::pool2d_walk3x3,   &isa_avx512::pool2d_window,   &isa_avx2::pool2d_walk3x3, &isa_avx2::pool2d_window,
#endif
      &isa_baseline::pool2d_walk3x3, &isa_baseline::pool2d_window, &pool2d_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
