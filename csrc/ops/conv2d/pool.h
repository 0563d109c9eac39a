// Convolution and max-pooling of its map in one kernel, for square windows without dilation:
//
//   y[n,py,px,k] = act(bias[k] + max over 0 <= i, j < window of conv2d(x)[n, py*stride - pad + i, px*stride - pad + j, k])
//
// conv: as in conv2d.h, without residual and with ldy of the pooled map; positions outside its oh x ow map are skipped.
// act keeps the order of values, so that this is the largest of the convolution's results, bit by bit.
#pragma once
#include "ops/conv2d/conv2d.h"

namespace pycnn {

struct ConvPoolParams {
  Conv2dParams conv;
  int64_t window = 2, stride = 2, pad = 0, pooled_h = 1, pooled_w = 1;
};

template <class Visit>
void visit_fields(ConvPoolParams& p, Visit&& field) {
  visit_fields(p.conv, field);
  field("window", p.window), field("stride", p.stride), field("pad", p.pad);
  field("pooled_h", p.pooled_h), field("pooled_w", p.pooled_w);
}

using ConvPoolKernel = Kernel<ConvPoolParams>;
KernelList<ConvPoolParams> conv2d_pool_kernels();

}  // namespace pycnn
