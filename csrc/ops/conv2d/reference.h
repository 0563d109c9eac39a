#pragma once
#include "ops/conv2d/conv2d.h"

namespace pycnn {
extern const Conv2dKernel conv2d_reference;
extern const Conv2dKernel conv2d_means_reference;
}  // namespace pycnn
