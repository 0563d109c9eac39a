#include "base/cuda/conv_prologue_tile.h"

#include "ops/conv2d/cuda.h"
#include "ops/conv2d/cuda_launch.h"

namespace pycnn::cuda {

// What the two prologues share. kPrologue: the one it is for; Rows: what changes the rows of a tile.
template <class Tile, Prologue kPrologue, class Rows>
struct ConvPrologue {
  using Conv = ConvKernel<Tile>;
  using Launcher = ConvLauncher<Tile>;
  using T = typename Launcher::T;

  static const char* why_not(const Conv2dParams& p) {
    if (p.prologue != kPrologue) return kPrologue == Prologue::kNorm ? "is for a norm of x" : "is for a gate of x";
    if (!sees_pixels(p))
      return "is for 1x1 convolutions of one group without padding, which the prologue does not reach";
    return Conv::why_not_shape(p);
  }

  static Cost cost(const Conv2dParams& p) { return Conv::cost(p); }

  static const char* start(const typename Rows::Args& a, const Conv2dParams& p, Stream stream) {
    const int64_t blocks = (p.pixels() + Tile::kBlockM - 1) / Tile::kBlockM * a.conv.n_tiles;
    return cuda::launch<conv_prologue_tile<Tile, Rows>>({blocks, 1}, Tile::kThreads, Tile::kShared, stream, a);
  }
};

template <class Tile>
struct ConvNorm : ConvPrologue<Tile, Prologue::kNorm, NormRows<Tile>> {
  using Base = ConvPrologue<Tile, Prologue::kNorm, NormRows<Tile>>;
  using typename Base::Conv, typename Base::Launcher;

  static int64_t channels(const Conv2dParams& p) { return Launcher::tiles(conv_shape(p)) * Tile::kTileElements; }

  static const char* why_not(const Conv2dParams& p) {
    const char* reason = Base::why_not(p);
    return reason || clamps(p) ? reason : "is for a norm with relu, relu6 or nothing behind it";
  }

  // Whole tiles of weights are multiples of 64 bytes: what follows is aligned.
  static int64_t packed_bytes(const Conv2dParams& p) {
    return Conv::packed_bytes(p) + 2 * channels(p) * static_cast<int64_t>(sizeof(float));
  }

  static void pack(const Conv2dParams& p, const float* w, void* packed) {
    Conv::pack(p, w, packed);
    auto* to = reinterpret_cast<float*>(static_cast<char*>(packed) + Conv::packed_bytes(p));
    const float* from = w + p.k * p.c;
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t c = 0; c < channels(p); ++c) to[half * channels(p) + c] = c < p.c ? from[half * p.c + c] : 0.0f;
  }

  static const char* launch(const Conv2dParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Launcher::check(ptrs)) return reason;
    if (p.pixels() == 0) return nullptr;
    ConvNormArgs a{};
    a.conv = Launcher::arguments(conv_shape(p), ptrs);
    const char* behind = static_cast<const char*>(ptrs.w) + Conv::packed_bytes(p);
    a.scale = reinterpret_cast<const float*>(behind), a.shift = a.scale + channels(p);
    a.low = p.prologue_act == Act::kNone ? -INFINITY : 0.0f;
    a.high = p.prologue_act == Act::kRelu6 ? 6.0f : INFINITY;
    return Base::start(a, p, stream);
  }
};

template <class Tile>
struct ConvGate : ConvPrologue<Tile, Prologue::kGate, GateRows<Tile>> {
  using Base = ConvPrologue<Tile, Prologue::kGate, GateRows<Tile>>;
  using typename Base::Conv, typename Base::Launcher, typename Base::T;

  static int64_t packed_bytes(const Conv2dParams& p) { return Conv::packed_bytes(p); }
  static void pack(const Conv2dParams& p, const float* w, void* packed) { Conv::pack(p, w, packed); }

  static const char* launch(const Conv2dParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Launcher::check(ptrs)) return reason;
    if (p.pixels() == 0) return nullptr;
    ConvGateArgs a{};
    a.conv = Launcher::arguments(conv_shape(p), ptrs);
    a.gate = ptrs.gate, a.ld = p.ldg, a.wide = aligned16(ptrs.gate) && p.ldg % kPiece<T> == 0;
    return Base::start(a, p, stream);
  }
};

template <template <class> class Kernel_, Math kMath, int kBlockM, int kWarpM>
constexpr Kernel<Conv2dParams> conv_prologue(const char* name) {
  using Tile = ConvTile<kMath, Gather::kPieces, kBlockM, 64, kWarpM, 32, 4>;
  using K = Kernel_<Tile>;
  return {name,      kDtypeOf<typename K::Base::T>, K::why_not, K::packed_bytes, K::pack,
          K::launch, kMath == Math::kTf32,          true,       K::cost};
}

// Both tiles of one prologue and one kind of arithmetic.
#define PYCNN_PROLOGUE(Kernel_, word, type, math)                                \
  conv_prologue<Kernel_, math, 128, 64>("conv2d_" word "128x64_" #type "_sm80"), \
      conv_prologue<Kernel_, math, 64, 32>("conv2d_" word "64x64_" #type "_sm80"),

KernelList<Conv2dParams> conv2d_prologue() {
  static constexpr Kernel<Conv2dParams> kernels[] = {
      PYCNN_PROLOGUE(ConvNorm, "norm", bf16, Math::kBf16) PYCNN_PROLOGUE(ConvNorm, "norm", f16, Math::kF16)
          PYCNN_PROLOGUE(ConvNorm, "norm", tf32, Math::kTf32) PYCNN_PROLOGUE(ConvNorm, "norm", f32, Math::kF32)
              PYCNN_PROLOGUE(ConvGate, "gate", bf16, Math::kBf16) PYCNN_PROLOGUE(ConvGate, "gate", f16, Math::kF16)
                  PYCNN_PROLOGUE(ConvGate, "gate", tf32, Math::kTf32)
                      PYCNN_PROLOGUE(ConvGate, "gate", f32, Math::kF32)};
  static constexpr const Kernel<Conv2dParams>* list[] = {
      &kernels[0], &kernels[1], &kernels[2],  &kernels[3],  &kernels[4],  &kernels[5],  &kernels[6],  &kernels[7],
      &kernels[8], &kernels[9], &kernels[10], &kernels[11], &kernels[12], &kernels[13], &kernels[14], &kernels[15]};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn::cuda
