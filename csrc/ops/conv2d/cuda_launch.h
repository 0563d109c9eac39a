// Kernels of the table out of tiles.
#pragma once
#include "base/cuda/conv_launch.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::cuda {

inline ConvShape conv_shape(const Conv2dParams& p) {
  return {p.n,  p.h,  p.w,  p.c,  p.k,      p.kh,  p.kw,  p.oh,  p.ow,  p.sh,       p.sw,
          p.ph, p.pw, p.dh, p.dw, p.groups, p.ldx, p.ldr, p.ldy, p.act, p.act_param};
}

template <class Tile>
struct ConvKernel {
  using Launcher = ConvLauncher<Tile>;
  using T = typename Launcher::T;

  static const char* why_not(const Conv2dParams& p) {
    const char* reason = why_not_prologue(p);
    return reason ? reason : why_not_shape(p);
  }

  static const char* why_not_shape(const Conv2dParams& p) {
    return p.x_nchw ? "reads NHWC" : Launcher::why_not(conv_shape(p));
  }

  static int64_t packed_bytes(const Conv2dParams& p) {
    return Launcher::packed_elements(conv_shape(p)) * static_cast<int64_t>(sizeof(T));
  }

  static void pack(const Conv2dParams& p, const float* w, void* packed) {
    const auto weight = [&](int64_t k, int64_t c, int64_t i, int64_t j) {
      return w[((k * p.group_c() + c) * p.kh + i) * p.kw + j];
    };
    Launcher::pack(conv_shape(p), weight, static_cast<T*>(packed));
  }

  static Cost cost(const Conv2dParams& p) { return Launcher::cost(conv_shape(p)); }

  static const char* launch(const Conv2dParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Launcher::check(ptrs)) return reason;
    return p.pixels() == 0 ? nullptr : Launcher::launch(Launcher::arguments(conv_shape(p), ptrs), p.groups, stream);
  }
};

template <class Tile>
constexpr Kernel<Conv2dParams> conv_kernel(const char* name) {
  using K = ConvKernel<Tile>;
  constexpr bool kTf32 = Tile::kMath == Math::kTf32, kAligned = Tile::kGather == Gather::kPieces;
  return {name, kDtypeOf<typename K::T>, K::why_not, K::packed_bytes, K::pack, K::launch, kTf32, kAligned, K::cost};
}

// The tiles of one kind of arithmetic. 4 stages of a 128 x 128 tile are 64 KiB: three blocks on an SM of sm_90, two on
// sm_80. rows: pixels of a warp of that tile; with fp32's split fragments 64 would spill.
#define PYCNN_CONV2D_CUDA(type, math, rows)                                                                        \
  KernelList<Conv2dParams> conv2d_##type() {                                                                       \
    static constexpr Kernel<Conv2dParams> kernels[] = {                                                            \
        conv_kernel<ConvTile<math, Gather::kPieces, 128, 128, rows, 32, 4>>("conv2d_igemm128x128_" #type "_sm80"), \
        conv_kernel<ConvTile<math, Gather::kPieces, 128, 64, 64, 32, 4>>("conv2d_igemm128x64_" #type "_sm80"),     \
        conv_kernel<ConvTile<math, Gather::kPieces, 128, 32, 32, 32, 4>>("conv2d_igemm128x32_" #type "_sm80"),     \
        conv_kernel<ConvTile<math, Gather::kPieces, 64, 64, 32, 32, 4>>("conv2d_igemm64x64_" #type "_sm80"),       \
        conv_kernel<ConvTile<math, Gather::kPieces, 32, 64, 32, 16, 4>>("conv2d_igemm32x64_" #type "_sm80"),       \
        conv_kernel<ConvTile<math, Gather::kRow, 128, 64, 64, 32, 3>>("conv2d_stem_" #type "_sm80"),               \
        conv_kernel<ConvTile<math, Gather::kElements, 64, 64, 32, 32, 3>>("conv2d_gather_" #type "_sm80"),         \
    };                                                                                                             \
    static constexpr const Kernel<Conv2dParams>* list[] = {&kernels[0], &kernels[1], &kernels[2], &kernels[3],     \
                                                           &kernels[4], &kernels[5], &kernels[6]};                 \
    return {list, sizeof list / sizeof *list};                                                                     \
  }

}  // namespace pycnn::cuda
