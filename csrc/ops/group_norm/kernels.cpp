#include "ops/group_norm/simd.h"

namespace pycnn {

KernelList<GroupNormParams> group_norm_kernels() {
  static const GroupNormKernel* const list[] = {
#if defined(__x86_64__)
      &isa_avx512::group_norm_maps,   &isa_avx512::group_norm_planar,   &isa_avx2::group_norm_maps,
      &isa_avx2::group_norm_planar,
#endif
      &isa_baseline::group_norm_maps, &isa_baseline::group_norm_planar, &group_norm_reference,
  };
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
