#include "ops/inverted_residual/cuda.h"
#include "ops/inverted_residual/tile.h"

namespace pycnn::cuda {

template <class Tile>
struct InvertedResidualKernel {
  using T = typename Storage<Tile::kMath>::Type;
  using Params = InvertedResidualParams;

  static int64_t tiles(const Params& p) { return (p.c + Tile::kHidden - 1) / Tile::kHidden; }
  static int64_t chunks(const Params& p) { return (p.s + Tile::kHidden - 1) / Tile::kHidden; }
  static int64_t down(const Params& p) { return (p.oh + Tile::kHigh - 1) / Tile::kHigh; }
  static int64_t across(const Params& p) { return (p.ow + Tile::kWide - 1) / Tile::kWide; }
  static int64_t chunk_bytes(const Params& p) { return Tile::chunk_bytes(static_cast<int>(tiles(p))); }

  static const char* why_not(const Params& p) {
    constexpr int64_t kMost = 1 << 30;
    if (p.stride != Tile::kStride) return "is for another stride";
    if (p.ph < 0 || p.pw < 0 || p.ph > 2 || p.pw > 2) return "needs padding of at most 2 pixels";
    if (p.n * p.h * p.w > kMost || p.n * p.oh * p.ow > kMost || p.s > kMost)
      return "has more than 2^30 pixels or channels";
    if (p.k > Tile::kWarpN) return "has more channels than its tile";
    if (p.c > 4 * Tile::kHidden) return "expands more than 128 channels";
    return p.ldx % kPiece<T> == 0 ? nullptr : "needs pixels that start on multiples of 16 bytes";
  }

  static int64_t packed_bytes(const Params& p) { return chunks(p) * chunk_bytes(p) + Tile::kWarpN * 4; }

  // Chunk after chunk: w1's tiles, w3's rows, w2's taps, b1, b2; then b3. Zeros where there is no channel.
  static void pack(const Params& p, const float* w, void* packed) {
    const float *b1 = w + p.s * p.c, *w2 = b1 + p.s, *b2 = w2 + p.s * Tile::kTaps, *w3 = b2 + p.s, *b3 = w3 + p.k * p.s;
    constexpr int64_t kHidden = Tile::kHidden;
    for (int64_t i = 0; i < chunks(p); ++i) {
      T* first = reinterpret_cast<T*>(static_cast<char*>(packed) + i * chunk_bytes(p));
      T *last = first + tiles(p) * kHidden * kHidden, *taps = last + Tile::kWarpN * kHidden;
      float *bias1 = reinterpret_cast<float*>(taps + Tile::kBias1 * kHidden), *bias2 = bias1 + kHidden;
      for (int64_t j = 0; j < kHidden; ++j) {
        const int64_t s = i * kHidden + j;
        const bool there = s < p.s;
        bias1[j] = there ? b1[s] : 0.0f, bias2[j] = there ? b2[s] : 0.0f;
        for (int64_t c = 0; c < tiles(p) * kHidden; ++c)
          first[(c / kHidden * kHidden + j) * kHidden + c % kHidden] =
              from_float<T>(there && c < p.c ? w[s * p.c + c] : 0.0f);
        for (int64_t k = 0; k < Tile::kWarpN; ++k)
          last[k * kHidden + j] = from_float<T>(there && k < p.k ? w3[k * p.s + s] : 0.0f);
        for (int64_t tap = 0; tap < Tile::kTaps; ++tap)
          taps[tap * kHidden + j] = from_float<T>(there ? w2[s * Tile::kTaps + tap] : 0.0f);
      }
    }
    auto* end = reinterpret_cast<float*>(static_cast<char*>(packed) + chunks(p) * chunk_bytes(p));
    for (int64_t k = 0; k < Tile::kWarpN; ++k) end[k] = k < p.k ? b3[k] : 0.0f;
  }

  // What CUDA cores do takes longer than the products: instructions of a thread for a hidden channel of a pixel seen, and
  // for one of a result, counted in the SASS of sm_90a with relu6; each takes as long as a multiply-add, which is two
  // operations. A warp reads twice the bytes of shared memory for an mma that a warp of a 128 x 128 tile does.
  static Cost cost(const Params& p) {
    constexpr double kSeen = Tile::kSeen, kM = Tile::kBlockM, kHidden = Tile::kHidden, kN = Tile::kWarpN;
    constexpr double kExpanded = 12, kMiddle = Tile::kStride == 1 ? 27 : 36;
    constexpr double kResident = Tile::kStride == 1 ? 2 : 3;  // blocks whose registers an SM has
    const double count = static_cast<double>(chunks(p)), deep = static_cast<double>(tiles(p)) * kHidden;
    Demand d;
    d.blocks = static_cast<double>(p.n * down(p) * across(p));
    d.operations = 2 * kHidden * count * (kSeen * deep + kM * kN);
    d.rate = mma_rate(true, 1) / 2;
    d.bytes = count * static_cast<double>(chunk_bytes(p)) +
              static_cast<double>(sizeof(T)) *
                  (kSeen * static_cast<double>(p.c) + kM * static_cast<double>(p.k * (p.ldr > 0 ? 2 : 1)));
    d.waits = count + 2;
    d.resident = std::fmin(resident_blocks(Tile::kThreads, Tile::shared_bytes(static_cast<int>(tiles(p)))), kResident);
    Demand vectors = d;
    vectors.operations = 2 * kHidden * count * (kSeen * kExpanded + kM * kMiddle);
    vectors.rate = kGpu.vectors;
    Cost cost = cost_of(d);
    cost.products = std::fmax(cost.products, cost_of(vectors).products);
    return cost;
  }

  static InvertedResidualArgs arguments(const Params& p, const Ptrs& ptrs) {
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    const auto wide = [](const void* at, int64_t ld) { return aligned16(at) && ld % kPiece<T> == 0; };
    InvertedResidualArgs a{};
    a.w = ptrs.w, a.chunks = narrow(chunks(p)), a.tiles = narrow(tiles(p)), a.chunk_bytes = narrow(chunk_bytes(p));
    a.down = narrow(down(p)), a.across = narrow(across(p));
    a.act = p.act, a.act_param = static_cast<float>(p.act_param);
    a.dw_act = p.dw_act, a.dw_param = static_cast<float>(p.dw_param);
    ConvArgs& c = a.conv;
    c.x = ptrs.x, c.residual = ptrs.residual, c.y = ptrs.y, c.ldx = p.ldx, c.ldr = p.ldr, c.ldy = p.ldy;
    c.bias = reinterpret_cast<const float*>(static_cast<const char*>(ptrs.w) + chunks(p) * chunk_bytes(p));
    c.h = narrow(p.h), c.width = narrow(p.w), c.c = narrow(p.c), c.k = narrow(p.k);
    c.oh = narrow(p.oh), c.ow = narrow(p.ow), c.ph = narrow(p.ph), c.pw = narrow(p.pw);
    c.wide_r = wide(ptrs.residual, p.ldr), c.wide_y = wide(ptrs.y, p.ldy);
    c.act = p.out_act, c.act_param = static_cast<float>(p.out_param);
    return a;
  }

  static const char* launch(const Params& p, const Ptrs& ptrs, Stream stream) {
    if (!aligned16(ptrs.w)) return "packed weights do not start on a multiple of 16 bytes";
    if (!aligned16(ptrs.x)) return "x does not start on a multiple of 16 bytes";
    const Grid grid{p.n * down(p) * across(p), 1};
    if (grid.x * p.k == 0) return nullptr;
    return cuda::launch<inverted_residual<Tile>>(grid, Tile::kThreads, Tile::shared_bytes(static_cast<int>(tiles(p))),
                                                 stream, arguments(p, ptrs));
  }
};

template <Math kMath, int kStride, int kColumns>
constexpr Kernel<InvertedResidualParams> inverted_residual_kernel(const char* name) {
  using K = InvertedResidualKernel<InvertedResidualTile<kMath, kStride, kColumns>>;
  return {name, kDtypeOf<typename K::T>, K::why_not, K::packed_bytes, K::pack, K::launch, false, true, K::cost};
}

// Named by the stride, and by the channels of the result that a tile has.
#define PYCNN_INVERTED_RESIDUAL(type, math)                                            \
  inverted_residual_kernel<math, 1, 32>("inverted_residual_s1_32_" #type "_sm80"),     \
      inverted_residual_kernel<math, 1, 64>("inverted_residual_s1_64_" #type "_sm80"), \
      inverted_residual_kernel<math, 2, 32>("inverted_residual_s2_32_" #type "_sm80"), \
      inverted_residual_kernel<math, 2, 64>("inverted_residual_s2_64_" #type "_sm80")

KernelList<InvertedResidualParams> inverted_residual_tiles() {
  static constexpr Kernel<InvertedResidualParams> kernels[] = {PYCNN_INVERTED_RESIDUAL(bf16, Math::kBf16),
                                                               PYCNN_INVERTED_RESIDUAL(f16, Math::kF16)};
  static constexpr const Kernel<InvertedResidualParams>* list[] = {&kernels[0], &kernels[1], &kernels[2], &kernels[3],
                                                                   &kernels[4], &kernels[5], &kernels[6], &kernels[7]};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn::cuda
