// A depthwise convolution that also adds up, for squeeze-and-excitation, the results of each channel of an image, in one
// CUDA kernel:
//
//   y = conv2d(x);   sums[n,part,c] = sum over the pixels of a part of y[n,:,:,c], in fp32
//
// conv: as in conv2d.h, with a group for each channel. The sums lie in y's memory, `sums` elements behind its first, a
// multiple of 16 bytes. An image's pixels are shared out to `parts` blocks; each block adds in an order that depends on
// the sizes of an image alone: the same bits every run, and whatever else is in the batch.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn {

struct ConvSumsParams {
  Conv2dParams conv;
  int64_t sums = 0, parts = 1;
};

template <class Visit>
void visit_fields(ConvSumsParams& p, Visit&& field) {
  visit_fields(p.conv, field);
  field("sums", p.sums), field("parts", p.parts);
}

namespace cuda {

KernelList<ConvSumsParams> conv2d_sums3x3();
KernelList<ConvSumsParams> conv2d_sums3x3s2();
KernelList<ConvSumsParams> conv2d_sums5x5();
KernelList<ConvSumsParams> conv2d_sums5x5s2();
KernelList<ConvSumsParams> conv2d_sums();

}  // namespace cuda
}  // namespace pycnn
