#pragma once
#include "ops/conv2d/pool.h"

namespace pycnn {
extern const Conv2dKernel conv2d_reference;
extern const Conv2dKernel conv2d_means_reference;
extern const ConvPoolKernel conv2d_pool_reference;
}  // namespace pycnn
