// Kernels of the table out of tiles: what they take, how they pack weights, how they are launched.
#pragma once
#include <cmath>

#include "base/cuda/kernel.h"
#include "ops/conv2d/cuda_tile.h"

namespace pycnn::cuda {

template <class Tile>
struct ConvKernel {
  using T = typename Storage<Tile::kMath>::Type;
  static constexpr bool kRow = Tile::kGather == Gather::kRow;
  static constexpr int64_t kElements = kPiece<T>;

  static int64_t taps(const Conv2dParams& p) { return kRow ? p.kh : p.kh * p.kw; }
  static int64_t tap_elements(const Conv2dParams& p) { return kRow ? p.kw * p.c : p.group_c(); }
  static int64_t tap_pieces(const Conv2dParams& p) { return (tap_elements(p) + kElements - 1) / kElements; }
  static int64_t tiles(const Conv2dParams& p) { return (taps(p) * tap_pieces(p) + kRowPieces - 1) / kRowPieces; }

  static const char* why_not(const Conv2dParams& p) {
    constexpr int64_t kMost = 1 << 30;
    if (p.x_nchw) return "reads NHWC";
    if (p.pixels() > kMost || p.h * p.w > kMost || p.k > kMost || p.kh * p.kw * p.c > kMost || p.groups > 65535)
      return "has more than 2^30 pixels, channels or taps, or 65535 groups";
    if (kRow && (p.groups != 1 || p.dw != 1 || p.ldx != p.c)) return "needs pixels side by side, dilation 1, one group";
    if (kRow && p.w * p.c > kMost) return "has more than 2^30 elements a row";
    if (Tile::kGather == Gather::kPieces && (p.ldx % kElements != 0 || (p.groups > 1 && p.group_c() % kElements != 0)))
      return "needs pixels and groups that start on multiples of 16 bytes";
    return nullptr;
  }

  static int64_t packed_bytes(const Conv2dParams& p) {
    return p.k * tiles(p) * Tile::kTileElements * static_cast<int64_t>(sizeof(T));
  }

  // [k][tile of the reduction][element], a tap's elements padded to whole pieces, zeros where nothing is.
  static void pack(const Conv2dParams& p, const float* w, void* packed) {
    const int64_t length = tiles(p) * Tile::kTileElements, padded = tap_pieces(p) * kElements;
    for (int64_t k = 0; k < p.k; ++k)
      for (int64_t r = 0; r < length; ++r) {
        const int64_t tap = r / padded, e = r % padded;
        const int64_t c = kRow ? e % p.c : e, spot = kRow ? tap * p.kw + e / p.c : tap;
        const bool there = tap < taps(p) && e < tap_elements(p);
        static_cast<T*>(packed)[k * length + r] =
            from_float<T>(there ? w[(k * p.group_c() + c) * p.kh * p.kw + spot] : 0.0f);
      }
  }

  static bool wide(const Conv2dParams& p, const void* at, int64_t ld) {
    return aligned16(at) && ld % kElements == 0 && (p.groups == 1 || p.group_k() % kElements == 0);
  }

  static ConvArgs arguments(const Conv2dParams& p, const Ptrs& ptrs) {
    ConvArgs a{};
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    a.x = ptrs.x, a.residual = ptrs.residual, a.w = ptrs.w, a.bias = ptrs.bias, a.y = ptrs.y;
    a.ldx = p.ldx, a.ldr = p.ldr, a.ldy = p.ldy;
    a.w_row = tiles(p) * Tile::kTileElements, a.w_group = a.w_row * p.group_k();
    a.pixels = narrow(p.pixels()), a.h = narrow(p.h), a.width = narrow(p.w);
    a.c = narrow(p.group_c()), a.k = narrow(p.group_k()), a.kw = narrow(p.kw), a.oh = narrow(p.oh), a.ow = narrow(p.ow);
    a.sh = narrow(p.sh), a.sw = narrow(p.sw), a.ph = narrow(p.ph), a.pw = narrow(p.pw);
    a.dh = narrow(p.dh), a.dw = narrow(p.dw);
    a.taps = narrow(taps(p)), a.tap_elements = narrow(tap_elements(p)), a.tap_pieces = narrow(tap_pieces(p));
    a.tiles = narrow(tiles(p)), a.n_tiles = narrow((p.group_k() + Tile::kBlockN - 1) / Tile::kBlockN);
    a.wide_r = wide(p, ptrs.residual, p.ldr), a.wide_y = wide(p, ptrs.y, p.ldy);
    a.act = p.act, a.act_param = static_cast<float>(p.act_param);
    return a;
  }

  // Tile steps of the SM that has most, over how much of the multiply rate a tile of this shape keeps up: the ratio of
  // products to bytes of shared memory it reads. An estimate, not measured yet.
  static double cost(const Conv2dParams& p) {
    constexpr double kSms = 132;
    const double m = Tile::kBlockM, n = Tile::kBlockN;
    const double blocks = std::ceil(static_cast<double>(p.pixels()) / m) *
                          std::ceil(static_cast<double>(p.group_k()) / n) * static_cast<double>(p.groups);
    const double rate = m * n / (m + n) / 64 * (Tile::kGather == Gather::kPieces ? 1 : 0.25);
    const double products = Tile::kMath == Math::kF32 ? 3 : 1;
    return std::ceil(blocks / kSms) * m * n * (static_cast<double>(tiles(p)) + 2) * products / rate;
  }

  static const char* launch(const Conv2dParams& p, const Ptrs& ptrs, Stream stream) {
    if (!aligned16(ptrs.w)) return "packed weights do not start on a multiple of 16 bytes";
    if (Tile::kGather == Gather::kPieces && !aligned16(ptrs.x)) return "x does not start on a multiple of 16 bytes";
    if (p.pixels() == 0) return nullptr;
    const ConvArgs a = arguments(p, ptrs);
    const Grid grid{(p.pixels() + Tile::kBlockM - 1) / Tile::kBlockM * a.n_tiles, p.groups};
    return cuda::launch<conv2d_tile<Tile>>(grid, Tile::kThreads, Tile::kShared, stream, a);
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
