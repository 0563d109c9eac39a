#include "base/cuda/conv_pool_tile.h"
#include "ops/conv2d/cuda_launch.h"
#include "ops/conv2d/cuda_pool.h"

namespace pycnn::cuda {

// Pooled pixels of a block's tile both ways, whose windows cover at most kBlockM pixels: as many as there can be.
struct PoolTiling {
  int64_t rows = 0, columns = 0;

  static PoolTiling of(const ConvPoolParams& p, int64_t pixels) {
    PoolTiling best;
    for (int64_t rows = 1; (rows - 1) * p.stride + p.window <= pixels && rows <= p.pooled_h; ++rows) {
      const int64_t wide = pixels / ((rows - 1) * p.stride + p.window);
      if (wide < p.window) break;
      const int64_t columns =
          (wide - p.window) / p.stride + 1 < p.pooled_w ? (wide - p.window) / p.stride + 1 : p.pooled_w;
      if (rows * columns > best.rows * best.columns) best = {rows, columns};
    }
    return best;
  }

  int64_t down(const ConvPoolParams& p) const { return (p.pooled_h + rows - 1) / rows; }
  int64_t across(const ConvPoolParams& p) const { return (p.pooled_w + columns - 1) / columns; }
};

template <class Tile>
struct StemPool {
  using Conv = ConvKernel<Tile>;
  using Launcher = ConvLauncher<Tile>;
  using T = typename Launcher::T;

  static bool keeps_order(const Conv2dParams& p) {
    return p.act == Act::kNone || p.act == Act::kRelu || p.act == Act::kRelu6 ||
           (p.act == Act::kLeakyRelu && p.act_param >= 0);
  }

  static const char* why_not(const ConvPoolParams& p) {
    if (p.conv.groups != 1 || p.conv.c > 4) return "is for one group of at most 4 channels";
    if (p.stride != 2 || p.window < 2 || p.window > 3) return "is for windows of 2 or 3 pixels, 2 pixels apart";
    if (p.pad < 0 || p.pad > p.window / 2) return "needs padding of at most half a window";
    if (!keeps_order(p.conv)) return "has an activation that does not keep the order of values";
    if (p.conv.n * p.pooled_h * p.pooled_w > 1 << 30) return "has more than 2^30 pixels";
    return Conv::why_not(p.conv);
  }

  static int64_t packed_bytes(const ConvPoolParams& p) { return Conv::packed_bytes(p.conv); }
  static void pack(const ConvPoolParams& p, const float* w, void* packed) { Conv::pack(p.conv, w, packed); }
  static int64_t pooled_tiles(const ConvPoolParams& p) {
    const PoolTiling tiling = PoolTiling::of(p, Tile::kBlockM);
    return p.conv.n * tiling.down(p) * tiling.across(p);
  }

  static Cost cost(const ConvPoolParams& p) {
    const double n_tiles = std::ceil(static_cast<double>(p.conv.k) / Tile::kBlockN);
    return tile_cost<Tile>(static_cast<double>(pooled_tiles(p)) * n_tiles,
                           static_cast<double>(Launcher::tiles(conv_shape(p.conv))), false);
  }

  static const char* launch(const ConvPoolParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Launcher::check(ptrs)) return reason;
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    const PoolTiling tiling = PoolTiling::of(p, Tile::kBlockM);
    const int64_t tiles = pooled_tiles(p);
    if (tiles == 0) return nullptr;
    ConvPoolArgs a{};
    a.conv = Launcher::arguments(conv_shape(p.conv), ptrs);
    a.down = narrow(tiling.down(p)), a.across = narrow(tiling.across(p));
    a.rows = narrow(tiling.rows), a.columns = narrow(tiling.columns);
    a.window = narrow(p.window), a.stride = narrow(p.stride), a.pad = narrow(p.pad);
    a.pooled_h = narrow(p.pooled_h), a.pooled_w = narrow(p.pooled_w);
    return cuda::launch<conv_pool_tile<Tile>>({tiles * a.conv.n_tiles, 1}, Tile::kThreads, ConvPoolTile<Tile>::kShared,
                                              stream, a);
  }
};

template <Math kMath, Gather kGather>
constexpr Kernel<ConvPoolParams> stem_pool(const char* name) {
  using K = StemPool<ConvTile<kMath, kGather, 128, 64, 64, 32, 3>>;
  constexpr bool kTf32 = kMath == Math::kTf32, kAligned = kGather == Gather::kPieces;
  return {name, kDtypeOf<typename K::T>, K::why_not, K::packed_bytes, K::pack, K::launch, kTf32, kAligned, K::cost};
}

// row: of images whose pixels lie side by side; pieces: of copies with whole pieces of 16 bytes a pixel.
KernelList<ConvPoolParams> conv2d_pool() {
  static constexpr Kernel<ConvPoolParams> kernels[] = {
      stem_pool<Math::kBf16, Gather::kRow>("conv2d_pool_row_bf16_sm80"),
      stem_pool<Math::kBf16, Gather::kPieces>("conv2d_pool_pieces_bf16_sm80"),
      stem_pool<Math::kF16, Gather::kRow>("conv2d_pool_row_f16_sm80"),
      stem_pool<Math::kF16, Gather::kPieces>("conv2d_pool_pieces_f16_sm80"),
      stem_pool<Math::kTf32, Gather::kRow>("conv2d_pool_row_tf32_sm80"),
      stem_pool<Math::kTf32, Gather::kPieces>("conv2d_pool_pieces_tf32_sm80"),
      stem_pool<Math::kF32, Gather::kRow>("conv2d_pool_row_f32_sm80"),
      stem_pool<Math::kF32, Gather::kPieces>("conv2d_pool_pieces_f32_sm80"),
  };
  static constexpr const Kernel<ConvPoolParams>* list[] = {&kernels[0], &kernels[1], &kernels[2], &kernels[3],
                                                           &kernels[4], &kernels[5], &kernels[6], &kernels[7]};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn::cuda
