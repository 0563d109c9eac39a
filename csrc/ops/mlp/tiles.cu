#include "ops/mlp/cuda.h"
#include "ops/mlp/mlp_tile.h"

namespace pycnn::cuda {

template <class Tile>
struct MlpKernel {
  using T = typename Storage<Tile::kMath>::Type;

  static int64_t chunks(const MlpParams& p) { return (p.s + Tile::kHidden - 1) / Tile::kHidden; }

  static const char* why_not(const MlpParams& p) {
    constexpr int64_t kMost = 1 << 30;
    if (p.rows() > kMost || p.s > kMost) return "has more than 2^30 pixels or channels";
    if (p.c > Tile::kChannels || p.k > Tile::kChannels) return "has more channels than its tile";
    return p.ldx % kPiece<T> == 0 ? nullptr : "needs pixels that start on multiples of 16 bytes";
  }

  static int64_t packed_bytes(const MlpParams& p) { return chunks(p) * Tile::kChunkBytes + Tile::kChannels * 4; }

  // Chunk after chunk: w1's tiles, w2's rows, b1; then b2. Zeros where there is no channel.
  static void pack(const MlpParams& p, const float* w, void* packed) {
    const float *b1 = w + p.s * p.c, *w2 = b1 + p.s, *b2 = w2 + p.k * p.s;
    for (int64_t i = 0; i < chunks(p); ++i) {
      char* chunk = static_cast<char*>(packed) + i * Tile::kChunkBytes;
      T *first = reinterpret_cast<T*>(chunk), *second = reinterpret_cast<T*>(chunk + Tile::kW1Bytes);
      auto* bias = reinterpret_cast<float*>(chunk + Tile::kBiasAt);
      for (int64_t j = 0; j < Tile::kHidden; ++j) {
        const int64_t hidden = i * Tile::kHidden + j;
        const bool there = hidden < p.s;
        bias[j] = there ? b1[hidden] : 0.0f;
        for (int64_t c = 0; c < Tile::kChannels; ++c) {
          const int64_t at = (c / Tile::kHidden * Tile::kHidden + j) * Tile::kHidden + c % Tile::kHidden;
          first[at] = from_float<T>(there && c < p.c ? w[hidden * p.c + c] : 0.0f);
          second[c * Tile::kHidden + j] = from_float<T>(there && c < p.k ? w2[c * p.s + hidden] : 0.0f);
        }
      }
    }
    auto* last = reinterpret_cast<float*>(static_cast<char*>(packed) + chunks(p) * Tile::kChunkBytes);
    for (int64_t k = 0; k < Tile::kChannels; ++k) last[k] = k < p.k ? b2[k] : 0.0f;
  }

  // The rate of a convolution's tile of 128 x 128, whose warps read 192 bytes of shared memory for an mma, where they read
  // no more here. Activations are not counted, here or there. An SM has registers for 256 threads.
  static Cost cost(const MlpParams& p) {
    constexpr double kM = Tile::kBlockM, kC = Tile::kChannels;
    const double count = static_cast<double>(chunks(p));
    Demand d;
    d.blocks = std::ceil(static_cast<double>(p.rows()) / kM);
    d.operations = 2 * 2 * kM * kC * Tile::kHidden * count;
    d.rate = mma_rate(true, 1) * std::fmin(1.0, 192 / Tile::kBytesAProduct);
    d.bytes = count * Tile::kChunkBytes + kM * static_cast<double>(sizeof(T) * (p.c + p.k * (p.ldr > 0 ? 2 : 1)));
    d.waits = count / (Tile::kStages - 1) + 2;
    d.resident = std::fmin(resident_blocks(Tile::kThreads, Tile::kShared), 256.0 / Tile::kThreads);
    return cost_of(d);
  }

  static MlpArgs arguments(const MlpParams& p, const Ptrs& ptrs) {
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    const auto wide = [](const void* at, int64_t ld) { return aligned16(at) && ld % kPiece<T> == 0; };
    MlpArgs a{};
    a.w = ptrs.w, a.chunks = narrow(chunks(p)), a.act = p.act, a.act_param = static_cast<float>(p.act_param);
    ConvArgs& c = a.conv;
    c.x = ptrs.x, c.residual = ptrs.residual, c.y = ptrs.y, c.ldx = p.ldx, c.ldr = p.ldr, c.ldy = p.ldy;
    c.bias = reinterpret_cast<const float*>(static_cast<const char*>(ptrs.w) + chunks(p) * Tile::kChunkBytes);
    c.pixels = narrow(p.rows()), c.c = narrow(p.c), c.k = narrow(p.k);
    c.wide_r = wide(ptrs.residual, p.ldr), c.wide_y = wide(ptrs.y, p.ldy);
    c.act = p.out_act, c.act_param = static_cast<float>(p.out_param);
    return a;
  }

  static const char* launch(const MlpParams& p, const Ptrs& ptrs, Stream stream) {
    if (!aligned16(ptrs.w)) return "packed weights do not start on a multiple of 16 bytes";
    if (!aligned16(ptrs.x)) return "x does not start on a multiple of 16 bytes";
    if (p.rows() * p.k == 0) return nullptr;
    const Grid grid{(p.rows() + Tile::kBlockM - 1) / Tile::kBlockM, 1};
    return cuda::launch<mlp_tile<Tile>>(grid, Tile::kThreads, Tile::kShared, stream, arguments(p, ptrs));
  }
};

template <Math kMath, int kChannels, int kWarpM, int kWarps, bool kHeld>
constexpr Kernel<MlpParams> mlp_kernel(const char* name) {
  using K = MlpKernel<MlpTile<kMath, kChannels, kWarpM, kWarps, kHeld>>;
  return {name, kDtypeOf<typename K::T>, K::why_not, K::packed_bytes, K::pack, K::launch, false, true, K::cost};
}

// Named by the pixels and the channels of a tile.
#define PYCNN_MLP(type, math)                                           \
  mlp_kernel<math, 96, 32, 4, false>("mlp128x96_" #type "_sm80"),       \
      mlp_kernel<math, 96, 32, 8, false>("mlp256x96_" #type "_sm80"),   \
      mlp_kernel<math, 128, 32, 4, false>("mlp128x128_" #type "_sm80"), \
      mlp_kernel<math, 128, 32, 8, false>("mlp256x128_" #type "_sm80"), \
      mlp_kernel<math, 192, 16, 8, true>("mlp128x192_" #type "_sm80")

KernelList<MlpParams> mlp_tiles() {
  static constexpr Kernel<MlpParams> kernels[] = {PYCNN_MLP(bf16, Math::kBf16), PYCNN_MLP(f16, Math::kF16)};
  static constexpr const Kernel<MlpParams>* list[] = {&kernels[0], &kernels[1], &kernels[2], &kernels[3], &kernels[4],
                                                      &kernels[5], &kernels[6], &kernels[7], &kernels[8], &kernels[9]};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn::cuda
