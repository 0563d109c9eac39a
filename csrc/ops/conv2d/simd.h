// The SIMD kernels each instruction set publishes.
#pragma once
#include "ops/conv2d/pool.h"

#define PYCNN_DECLARE(isa)                           \
  namespace isa {                                    \
  extern const Conv2dKernel conv2d_depthwise;        \
  extern const Conv2dKernel conv2d_depthwise3x3;     \
  extern const Conv2dKernel conv2d_depthwise_window; \
  extern const Conv2dKernel conv2d_grouped;          \
  extern const Conv2dKernel conv2d_igemm;            \
  extern const Conv2dKernel conv2d_patch;            \
  extern const Conv2dKernel conv2d_planar;           \
  extern const Conv2dKernel conv2d_scale;            \
  extern const Conv2dKernel conv2d_stem;             \
  extern const Conv2dKernel conv2d_winograd2;        \
  extern const Conv2dKernel conv2d_winograd4;        \
  extern const Conv2dKernel conv2d_winograd5x5;      \
  extern const ConvPoolKernel conv2d_pool_winograd2; \
  extern const ConvPoolKernel conv2d_pool_winograd4; \
  }
namespace pycnn {
PYCNN_DECLARE(isa_baseline)
PYCNN_DECLARE(isa_avx2)
PYCNN_DECLARE(isa_avx512)
}  // namespace pycnn
#undef PYCNN_DECLARE
