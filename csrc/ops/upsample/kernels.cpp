#include "ops/upsample/simd.h"

namespace pycnn {

KernelList<UpsampleParams> upsample_kernels() {
  static const UpsampleKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::upsample_rows,   &isa_avx512::upsample_planes,   &isa_avx2::upsample_rows,
      &isa_avx2::upsample_planes,
#endif
      &isa_baseline::upsample_rows, &isa_baseline::upsample_planes, &upsample_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
