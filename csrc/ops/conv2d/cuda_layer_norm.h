// A depthwise convolution and the layer norm of each of its pixels in one CUDA kernel:
//
//   v = conv2d(x);   y[i,c] = (v[i,c] - mean_i) / sqrt(var_i + eps) * w[c] + b[c]
//
// conv: as in conv2d.h, with a group for each channel and ldy of the result; mean and variance as in
// ops/layer_norm/layer_norm.h. Weights come as conv2d's, then c of w, then c of b.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn {

struct ConvLayerNormParams {
  Conv2dParams conv;
  double eps = 1e-5;
};

template <class Visit>
void visit_fields(ConvLayerNormParams& p, Visit&& field) {
  visit_fields(p.conv, field);
  field("eps", p.eps);
}

namespace cuda {

KernelList<ConvLayerNormParams> conv2d_layer_norm7x7();
KernelList<ConvLayerNormParams> conv2d_layer_norm();

}  // namespace cuda
}  // namespace pycnn
