// Kernels of the table out of the tiles of wgmma_epilogue.h.
#pragma once
#include "base/cuda/kernel.h"
#include "base/cuda/switches.h"
#include "ops/conv2d/wgmma_epilogue.h"

namespace pycnn::cuda {

template <class Tile>
struct WgmmaKernel {
  using T = typename Tile::T;
  static constexpr Dtype kDtype = kDtypeOf<T>;
  static constexpr bool kNorm = Tile::kPrologue == Prologue::kNorm;

  static const char* why_not(const Conv2dParams& p) {
    if (const char* reason = why_not_prologue_of(p)) return reason;
    if (!wgmma_is_on()) return "is off until a GPU has confirmed it: PYCNN_CUDA_WGMMA=1 turns it on";
    if (const char* reason = sm90_missing()) return reason;
    if (wgmma_steps(p) < Tile::kSplit) return "has fewer steps of the reduction than blocks to share them";
    return wgmma_why_not(p);
  }

  static const char* why_not_prologue_of(const Conv2dParams& p) {
    if constexpr (Tile::kPrologue == Prologue::kNone) return why_not_prologue(p);
    if (p.prologue != Tile::kPrologue) return kNorm ? "is for a norm of x" : "is for a gate of x";
    if (!sees_pixels(p))
      return "is for 1x1 convolutions of one group without padding, which the prologue does not reach";
    return !kNorm || clamps(p) ? nullptr : "is for a norm with relu, relu6 or nothing behind it";
  }

  static int64_t channels(const Conv2dParams& p) { return wgmma_chunks(p) * kWgmmaChannels; }
  static int64_t weight_bytes(const Conv2dParams& p) {
    return p.k * wgmma_steps(p) * kWgmmaChannels * static_cast<int64_t>(sizeof(T));
  }
  static int64_t packed_bytes(const Conv2dParams& p) {
    return weight_bytes(p) + (kNorm ? 2 * channels(p) * static_cast<int64_t>(sizeof(float)) : 0);
  }

  static void pack(const Conv2dParams& p, const float* w, void* packed) {
    auto* to = static_cast<T*>(packed);
    const int64_t taps = p.kh * p.kw, padded = wgmma_chunks(p) * kWgmmaChannels;
    for (int64_t k = 0; k < p.k; ++k)
      for (int64_t tap = 0; tap < taps; ++tap)
        for (int64_t c = 0; c < padded; ++c) *to++ = from_float<T>(c < p.c ? w[(k * p.c + c) * taps + tap] : 0.0f);
    if constexpr (kNorm)
      for (int64_t half = 0; half < 2; ++half)
        for (int64_t c = 0; c < padded; ++c)
          reinterpret_cast<float*>(to)[half * padded + c] = c < p.c ? w[p.k * p.c + half * p.c + c] : 0.0f;
  }

  static int64_t n_tiles(const Conv2dParams& p) { return (p.k + Tile::kBlockN - 1) / Tile::kBlockN; }
  static int64_t tiles(const Conv2dParams& p) { return (p.pixels() + Tile::kBlockM - 1) / Tile::kBlockM * n_tiles(p); }

  // Of an element of x that the prologue changes: unpacked, multiplied, clamped, packed, as counted in the source.
  static constexpr double kChange = 7;

  // A persistent block's tiles are counted as blocks. One that shares its tile reads the others' sums, split - 1 times
  // its share of them, and waits twice for the whole cluster.
  static Cost cost(const Conv2dParams& p) {
    constexpr double kM = Tile::kBlockM, kN = Tile::kBlockN, kSplit = Tile::kSplit;
    const double steps = std::ceil(static_cast<double>(wgmma_steps(p)) / kSplit);
    Demand d;
    d.blocks = static_cast<double>(tiles(p)) * kSplit;
    d.operations = 2 * kM * kN * steps * kWgmmaChannels;
    d.rate = kGpu.products * tile_share(kM, kN);
    d.bytes = steps * Tile::kStageBytes + kM * kN * (sizeof(T) * (p.ldr > 0 ? 2 : 1) / kSplit);
    if (kSplit > 1) d.bytes += kM * kN * sizeof(float) * (kSplit - 1) / kSplit;
    d.waits = steps / Tile::kStages + 2 + (kSplit > 1 ? 2 : 0);
    Cost cost = cost_of(d);
    if constexpr (Tile::kPrologue != Prologue::kNone) {
      d.operations = 2 * kChange * kM * steps * kWgmmaChannels, d.rate = kGpu.vectors;
      cost.products = std::fmax(cost.products, cost_of(d).products);
    }
    return cost;
  }

  static const char* maps(const Conv2dParams& p, const Ptrs& ptrs, WgmmaArgs& a) {
    // In whole pieces of 16 bytes, the last channels' too.
    const auto moved = [](const void* at, int64_t ld, int64_t k) { return aligned16(at) && ld % 8 == 0 && k % 8 == 0; };
    a.residual_tma = Tile::kSplit == 1 && ptrs.residual && moved(ptrs.residual, p.ldr, p.k);
    a.y_tma = Tile::kSplit == 1 && moved(ptrs.y, p.ldy, p.k);
    const char* error = encode(x_map(p, kDtype, ptrs.x), &a.x);
    if (!error) error = encode(w_map(p, kDtype, ptrs.w, Tile::kBlockN), &a.w);
    if (!error && a.residual_tma) error = encode(y_map(p, kDtype, ptrs.residual, p.ldr), &a.residual);
    if (!error && a.y_tma) error = encode(y_map(p, kDtype, ptrs.y, p.ldy), &a.y);
    return error;
  }

  static WgmmaArgs arguments(const Conv2dParams& p, const Ptrs& ptrs) {
    WgmmaArgs a{};
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    a.bias = ptrs.bias, a.residual_at = ptrs.residual, a.y_at = ptrs.y, a.ldr = p.ldr, a.ldy = p.ldy;
    a.pixels = narrow(p.pixels()), a.k = narrow(p.k), a.oh = narrow(p.oh), a.ow = narrow(p.ow), a.kw = narrow(p.kw);
    a.sh = narrow(p.sh), a.sw = narrow(p.sw), a.ph = narrow(p.ph), a.pw = narrow(p.pw);
    a.dh = narrow(p.dh), a.dw = narrow(p.dw), a.im2col = !wgmma_pointwise(p);
    a.chunks = narrow(wgmma_chunks(p)), a.steps = narrow(wgmma_steps(p));
    a.tiles = narrow(tiles(p)), a.n_tiles = narrow(n_tiles(p));
    a.c = narrow(p.c), a.act = p.act, a.act_param = static_cast<float>(p.act_param);
    WgmmaPrologue& before = a.prologue;
    before.scale = reinterpret_cast<const float*>(static_cast<const char*>(ptrs.w) + weight_bytes(p));
    before.shift = before.scale + channels(p);
    before.low = p.prologue_act == Act::kNone ? -INFINITY : 0.0f;
    before.high = p.prologue_act == Act::kRelu6 ? 6.0f : INFINITY;
    before.gate = ptrs.gate, before.ld = p.ldg, before.wide = aligned16(ptrs.gate) && p.ldg % 8 == 0;
    return a;
  }

  static const char* launch(const Conv2dParams& p, const Ptrs& ptrs, Stream stream) {
    if (p.pixels() == 0) return nullptr;
    if (const char* reason = sm90_missing()) return reason;  // a plan may come to another device
    WgmmaArgs a = arguments(p, ptrs);
    if (const char* error = maps(p, ptrs, a)) return error;
    if constexpr (Tile::kSplit > 1) {
      return launch_cluster<conv_wgmma<Tile>>({tiles(p) * Tile::kSplit, 1}, Tile::kSplit, Tile::kThreads, Tile::kShared,
                                              stream, a);
    } else {
      const int64_t blocks = multiprocessors();
      if (blocks < 1) return "the device's multiprocessors cannot be counted";
      const Grid grid{tiles(p) < blocks ? tiles(p) : blocks, 1};
      return cuda::launch<conv_wgmma<Tile>>(grid, Tile::kThreads, Tile::kShared, stream, a);
    }
  }
};

template <class Tile>
constexpr Kernel<Conv2dParams> wgmma_kernel(const char* name) {
  using K = WgmmaKernel<Tile>;
  return {name, K::kDtype, K::why_not, K::packed_bytes, K::pack, K::launch, false, true, K::cost};
}

// The tiles of one type of elements. 208 to 225 KiB of an SM's 227 are buffers and boxes.
#define PYCNN_CONV2D_WGMMA(type, Type)                                                             \
  KernelList<Conv2dParams> conv2d_wgmma_##type() {                                                 \
    static constexpr Kernel<Conv2dParams> kernels[] = {                                            \
        wgmma_kernel<WgmmaTile<Type, 256, 3>>("conv2d_wgmma128x256_" #type "_sm90"),               \
        wgmma_kernel<WgmmaTile<Type, 128, 6>>("conv2d_wgmma128x128_" #type "_sm90"),               \
        wgmma_kernel<WgmmaTile<Type, 64, 8>>("conv2d_wgmma128x64_" #type "_sm90"),                 \
        wgmma_kernel<WgmmaTile<Type, 64, 8, 2>>("conv2d_wgmma128x64_split2_" #type "_sm90"),       \
        wgmma_kernel<WgmmaTile<Type, 64, 8, 4>>("conv2d_wgmma128x64_split4_" #type "_sm90"),       \
        wgmma_kernel<WgmmaTile<Type, 64, 8, 8>>("conv2d_wgmma128x64_split8_" #type "_sm90"),       \
    };                                                                                             \
    static constexpr const Kernel<Conv2dParams>* list[] = {&kernels[0], &kernels[1], &kernels[2],  \
                                                           &kernels[3], &kernels[4], &kernels[5]}; \
    return {list, sizeof list / sizeof *list};                                                     \
  }

// With one prologue; 256 channels would leave no registers for it.
#define PYCNN_CONV2D_WGMMA_PROLOGUE(word, type, Type, prologue)                                                  \
  KernelList<Conv2dParams> conv2d_wgmma_##word##_##type() {                                                      \
    static constexpr Kernel<Conv2dParams> kernels[] = {                                                          \
        wgmma_kernel<WgmmaTile<Type, 128, 6, 1, prologue>>("conv2d_" #word "_wgmma128x128_" #type "_sm90"),      \
        wgmma_kernel<WgmmaTile<Type, 64, 8, 1, prologue>>("conv2d_" #word "_wgmma128x64_" #type "_sm90"),        \
        wgmma_kernel<WgmmaTile<Type, 64, 8, 2, prologue>>("conv2d_" #word "_wgmma128x64_split2_" #type "_sm90"), \
        wgmma_kernel<WgmmaTile<Type, 64, 8, 4, prologue>>("conv2d_" #word "_wgmma128x64_split4_" #type "_sm90"), \
    };                                                                                                           \
    static constexpr const Kernel<Conv2dParams>* list[] = {&kernels[0], &kernels[1], &kernels[2], &kernels[3]};  \
    return {list, sizeof list / sizeof *list};                                                                   \
  }

}  // namespace pycnn::cuda
