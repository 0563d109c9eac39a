#include "ops/conv2d/reference.h"
#include "ops/conv2d/simd.h"

namespace pycnn {

// The dense kernels of one instruction set are chosen by cost, the order of the rest is first come.
#define PYCNN_KERNELS(isa)                                                                                  \
  &isa::conv2d_scale, &isa::conv2d_depthwise3x3, &isa::conv2d_depthwise_window, &isa::conv2d_depthwise,     \
      &isa::conv2d_grouped, &isa::conv2d_planar, &isa::conv2d_igemm, &isa::conv2d_stem, &isa::conv2d_patch, \
      &isa::conv2d_winograd4, &isa::conv2d_winograd2, &isa::conv2d_winograd5x5

KernelList<Conv2dParams> conv2d_kernels() {
  static const Conv2dKernel* const list[] = {
#if defined(__x86_64__)
      PYCNN_KERNELS(isa_avx512),
      PYCNN_KERNELS(isa_avx2),
#endif
      PYCNN_KERNELS(isa_baseline),
      &conv2d_reference,
  };
  return {list, sizeof list / sizeof *list};
}

#undef PYCNN_KERNELS

// The depthwise ones write the means where they are asked for.
#define PYCNN_MEANS(isa) &isa::conv2d_depthwise3x3, &isa::conv2d_depthwise_window, &isa::conv2d_depthwise

KernelList<Conv2dParams> conv2d_means_kernels() {
  static const Conv2dKernel* const list[] = {
#if defined(__x86_64__)
      PYCNN_MEANS(isa_avx512),
      PYCNN_MEANS(isa_avx2),
#endif
      PYCNN_MEANS(isa_baseline),
      &conv2d_means_reference,
  };
  return {list, sizeof list / sizeof *list};
}

#undef PYCNN_MEANS

#define PYCNN_POOLED(isa) &isa::conv2d_pool_winograd4, &isa::conv2d_pool_winograd2

KernelList<ConvPoolParams> conv2d_pool_kernels() {
  static const ConvPoolKernel* const list[] = {
#if defined(__x86_64__)
      PYCNN_POOLED(isa_avx512),
      PYCNN_POOLED(isa_avx2),
#endif
      PYCNN_POOLED(isa_baseline),
      &conv2d_pool_reference,
  };
  return {list, sizeof list / sizeof *list};
}

#undef PYCNN_POOLED

}  // namespace pycnn
