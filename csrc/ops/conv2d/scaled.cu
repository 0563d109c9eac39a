#include "base/cuda/conv_scaled_tile.h"
#include "ops/conv2d/cuda_launch.h"
#include "ops/conv2d/cuda_scaled.h"

namespace pycnn::cuda {

template <class Tile>
struct ConvScaled {
  using Conv = ConvKernel<Tile>;
  using Launcher = ConvLauncher<Tile>;
  using T = typename Launcher::T;

  static int64_t channels(const ConvScaledParams& p) {
    return Launcher::tiles(conv_shape(p.conv)) * Tile::kTileElements;
  }

  static const char* why_not(const ConvScaledParams& p) {
    const Conv2dParams& c = p.conv;
    if (c.kh != 1 || c.kw != 1 || c.groups != 1) return "is for 1x1 convolutions of one group";
    if (c.ph != 0 || c.pw != 0 || (c.oh - 1) * c.sh >= c.h || (c.ow - 1) * c.sw >= c.w)
      return "is for convolutions without padding, which the shift does not reach";
    return Conv::why_not(c);
  }

  // Whole tiles of weights are multiples of 64 bytes: what follows is aligned.
  static int64_t packed_bytes(const ConvScaledParams& p) {
    return Conv::packed_bytes(p.conv) + 2 * channels(p) * static_cast<int64_t>(sizeof(float));
  }

  static void pack(const ConvScaledParams& p, const float* w, void* packed) {
    Conv::pack(p.conv, w, packed);
    auto* to = reinterpret_cast<float*>(static_cast<char*>(packed) + Conv::packed_bytes(p.conv));
    const float* from = w + p.conv.k * p.conv.c;
    for (int64_t half = 0; half < 2; ++half)
      for (int64_t c = 0; c < channels(p); ++c)
        to[half * channels(p) + c] = c < p.conv.c ? from[half * p.conv.c + c] : 0.0f;
  }

  static Cost cost(const ConvScaledParams& p) { return Conv::cost(p.conv); }

  static const char* launch(const ConvScaledParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Launcher::check(ptrs)) return reason;
    if (p.conv.pixels() == 0) return nullptr;
    ConvScaledArgs a{};
    a.conv = Launcher::arguments(conv_shape(p.conv), ptrs);
    const char* behind = static_cast<const char*>(ptrs.w) + Conv::packed_bytes(p.conv);
    a.scale = reinterpret_cast<const float*>(behind), a.shift = a.scale + channels(p);
    a.relu = p.relu != 0;
    const int64_t blocks = (p.conv.pixels() + Tile::kBlockM - 1) / Tile::kBlockM * a.conv.n_tiles;
    return cuda::launch<conv_scaled_tile<Tile>>({blocks, 1}, Tile::kThreads, Tile::kShared, stream, a);
  }
};

template <Math kMath, int kBlockM, int kWarpM>
constexpr Kernel<ConvScaledParams> conv_scaled(const char* name) {
  using K = ConvScaled<ConvTile<kMath, Gather::kPieces, kBlockM, 64, kWarpM, 32, 4>>;
  return {name,      kDtypeOf<typename K::T>, K::why_not, K::packed_bytes, K::pack,
          K::launch, kMath == Math::kTf32,    true,       K::cost};
}

KernelList<ConvScaledParams> conv2d_scaled() {
  static constexpr Kernel<ConvScaledParams> kernels[] = {
      conv_scaled<Math::kBf16, 128, 64>("conv2d_scaled128x64_bf16_sm80"),
      conv_scaled<Math::kBf16, 64, 32>("conv2d_scaled64x64_bf16_sm80"),
      conv_scaled<Math::kF16, 128, 64>("conv2d_scaled128x64_f16_sm80"),
      conv_scaled<Math::kF16, 64, 32>("conv2d_scaled64x64_f16_sm80"),
      conv_scaled<Math::kTf32, 128, 64>("conv2d_scaled128x64_tf32_sm80"),
      conv_scaled<Math::kTf32, 64, 32>("conv2d_scaled64x64_tf32_sm80"),
      conv_scaled<Math::kF32, 128, 64>("conv2d_scaled128x64_f32_sm80"),
      conv_scaled<Math::kF32, 64, 32>("conv2d_scaled64x64_f32_sm80"),
  };
  static constexpr const Kernel<ConvScaledParams>* list[] = {&kernels[0], &kernels[1], &kernels[2], &kernels[3],
                                                             &kernels[4], &kernels[5], &kernels[6], &kernels[7]};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn::cuda
