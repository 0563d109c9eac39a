// conv2d as wgmma_tile.h computes it, seen from the host: which problems it takes, and the tensor maps of its operands.
#pragma once
#include "base/cuda/tensor_map.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::cuda {

inline constexpr int64_t kWgmmaPixels = 128;   // of a tile
inline constexpr int64_t kWgmmaChannels = 64;  // of a step of the reduction: 128 bytes of one tap
inline constexpr int64_t kStoredRows = 64;     // of a box of residual and y

inline int64_t wgmma_chunks(const Conv2dParams& p) { return (p.c + kWgmmaChannels - 1) / kWgmmaChannels; }
inline int64_t wgmma_steps(const Conv2dParams& p) { return p.kh * p.kw * wgmma_chunks(p); }

// Pixels of x are those of y, one by one.
inline bool wgmma_pointwise(const Conv2dParams& p) {
  return p.kh == 1 && p.kw == 1 && p.sh == 1 && p.sw == 1 && p.ph == 0 && p.pw == 0 && p.oh == p.h && p.ow == p.w;
}

// rows x columns elements, rows `ld` elements apart, read in boxes of `box` rows of 64 elements.
inline TensorMapSpec matrix_map(Dtype dtype, const void* at, int64_t rows, int64_t columns, int64_t ld, int64_t box) {
  TensorMapSpec s;
  s.address = at, s.dtype = dtype;
  s.dim[0] = static_cast<uint64_t>(columns), s.dim[1] = static_cast<uint64_t>(rows);
  s.stride[0] = static_cast<uint64_t>(ld * kMapElement);
  s.box[0] = kWgmmaChannels, s.box[1] = static_cast<uint32_t>(box);
  return s;
}

// The window's box ends at the last output, whatever lies right of it: the box of a convolution that pads no more there.
inline TensorMapSpec x_map(const Conv2dParams& p, Dtype dtype, const void* at) {
  if (wgmma_pointwise(p)) return matrix_map(dtype, at, p.pixels(), p.c, p.ldx, kWgmmaPixels);
  TensorMapSpec s = matrix_map(dtype, at, p.w, p.c, p.ldx, kWgmmaPixels);
  s.im2col = 1;
  s.dim[2] = static_cast<uint64_t>(p.h), s.dim[3] = static_cast<uint64_t>(p.n);
  s.stride[1] = s.stride[0] * s.dim[1], s.stride[2] = s.stride[1] * s.dim[2];
  s.step[0] = static_cast<uint32_t>(p.sw), s.step[1] = static_cast<uint32_t>(p.sh);
  s.lower[0] = static_cast<int32_t>(-p.pw), s.lower[1] = static_cast<int32_t>(-p.ph);
  s.upper[0] = static_cast<int32_t>((p.ow - 1) * p.sw - p.pw - (p.w - 1));
  s.upper[1] = static_cast<int32_t>((p.oh - 1) * p.sh - p.ph - (p.h - 1));
  return s;
}

// Packed [k][tap][channel], channels padded to whole steps.
inline TensorMapSpec w_map(const Conv2dParams& p, Dtype dtype, const void* at, int64_t block_n) {
  const int64_t row = wgmma_steps(p) * kWgmmaChannels;
  return matrix_map(dtype, at, p.k, row, row, block_n);
}

inline TensorMapSpec y_map(const Conv2dParams& p, Dtype dtype, const void* at, int64_t ld) {
  return matrix_map(dtype, at, p.pixels(), p.k, ld, kStoredRows);
}

// Null, or why TMA cannot read x. Residual and y that it cannot move are moved by threads.
inline const char* wgmma_why_not(const Conv2dParams& p) {
  constexpr int64_t kMost = 1 << 30;
  if (p.x_nchw) return "reads NHWC";
  if (p.groups != 1) return "takes one group";
  if (p.c % 8 != 0 || p.ldx % 8 != 0) return "needs channels and pixels in multiples of 16 bytes";
  if (p.pixels() > kMost || p.n * p.h * p.w > kMost || p.k > kMost || wgmma_steps(p) * kWgmmaChannels > kMost)
    return "has more than 2^30 pixels, channels or taps";
  if ((p.kh - 1) * p.dh > kMostOffset || (p.kw - 1) * p.dw > kMostOffset)
    return "has a window that spans more than 255 pixels";
  if (p.pixels() == 0) return nullptr;
  for (const int64_t corner : {p.ph, p.pw})
    if (corner < -127 || corner > 128) return "pads by more than 128";
  return tensor_map_limit(x_map(p, Dtype::kBf16, nullptr));
}

}  // namespace pycnn::cuda
