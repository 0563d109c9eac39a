// A 1x1 convolution of x * scale + shift, or with relu of the larger of that and 0, in one CUDA kernel; scale and shift
// are of each channel of x. conv: as in conv2d.h, without padding. Weights come as [k][c], then c scales, then c shifts.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn {

struct ConvScaledParams {
  Conv2dParams conv;
  int64_t relu = 1;
};

template <class Visit>
void visit_fields(ConvScaledParams& p, Visit&& field) {
  visit_fields(p.conv, field);
  field("relu", p.relu);
}

namespace cuda {

KernelList<ConvScaledParams> conv2d_scaled();

}  // namespace cuda
}  // namespace pycnn
