#include "ops/conv2d/reference.h"
#include "ops/conv2d/simd.h"

namespace pycnn {

KernelList<Conv2dParams> conv2d_kernels() {
  static const Conv2dKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::conv2d_depthwise,   &isa_avx512::conv2d_igemm,
      &isa_avx512::conv2d_patch,       &isa_avx2::conv2d_depthwise,
      &isa_avx2::conv2d_igemm,         &isa_avx2::conv2d_patch,
#endif
      &isa_baseline::conv2d_depthwise, &isa_baseline::conv2d_igemm,
      &isa_baseline::conv2d_patch,     &conv2d_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
