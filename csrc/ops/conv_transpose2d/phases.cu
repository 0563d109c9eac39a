// Outputs whose positions leave the same rest when divided by the strides see the same taps: each of these sh * sw phases
// is a convolution of stride 1 over x, whose results lie a stride apart in y. One launch a phase.
#include "base/cuda/conv_launch.h"
#include "ops/conv_transpose2d/cuda.h"

namespace pycnn::cuda {

// One axis of a phase. Output out * stride + rest reads x at out - pad + j * dilation for the taps j = 0 .. count - 1,
// which are taps first - j * apart of the kernel.
struct TransposedPhase {
  int64_t outputs, count, pad, dilation, first, apart;
};

inline TransposedPhase transposed_phase(int64_t rest, int64_t out, int64_t k, int64_t stride, int64_t pad,
                                        int64_t dilation) {
  TransposedPhase phase{(out - rest + stride - 1) / stride, 0, 0, 1, 0, 1};
  int64_t lowest = 0;
  for (int64_t i = 0; i < k; ++i) {
    const int64_t moved = rest + pad - i * dilation;  // of x's grid, in steps of 1 / stride
    if (moved % stride != 0) continue;
    if (phase.count == 1) phase.apart = i - phase.first, phase.dilation = lowest - moved / stride;
    if (phase.count == 0) phase.first = i;
    lowest = moved / stride, ++phase.count;
  }
  phase.pad = -lowest;
  phase.first += (phase.count > 0 ? phase.count - 1 : 0) * phase.apart;
  return phase;
}

struct TransposedPhases {
  TransposedPhase y, x;

  static TransposedPhases of(const ConvTranspose2dParams& p, int64_t number) {
    return {transposed_phase(number / p.sw, p.oh, p.kh, p.sh, p.ph, p.dh),
            transposed_phase(number % p.sw, p.ow, p.kw, p.sw, p.pw, p.dw)};
  }

  ConvShape shape(const ConvTranspose2dParams& p) const {
    return {p.n,   p.h,   p.w,        p.c,        p.k,      y.count, x.count, y.outputs, x.outputs, 1,          1,
            y.pad, x.pad, y.dilation, x.dilation, p.groups, p.ldx,   0,       p.ldy,     p.act,     p.act_param};
  }
};

template <class Tile>
struct TransposedKernel {
  using Launcher = ConvLauncher<Tile>;
  using T = typename Launcher::T;

  static int64_t phases(const ConvTranspose2dParams& p) { return p.sh * p.sw; }

  static const char* why_not(const ConvTranspose2dParams& p) {
    constexpr int64_t kMost = 1 << 30;
    if (p.sh * p.sw > 1024) return "has more than 1024 phases";
    if (p.oh * p.ow > kMost || p.kh * p.kw * p.c > kMost) return "has more than 2^30 pixels or taps";
    for (int64_t number = 0; number < phases(p); ++number)
      if (const char* reason = Launcher::why_not(TransposedPhases::of(p, number).shape(p))) return reason;
    return nullptr;
  }

  static int64_t packed_bytes(const ConvTranspose2dParams& p) {
    int64_t elements = 0;
    for (int64_t number = 0; number < phases(p); ++number)
      elements += Launcher::packed_elements(TransposedPhases::of(p, number).shape(p));
    return elements * static_cast<int64_t>(sizeof(T));
  }

  // Phase after phase, each as a convolution's; whole tiles, so that every one starts on a multiple of 16 bytes.
  static void pack(const ConvTranspose2dParams& p, const float* w, void* packed) {
    T* to = static_cast<T*>(packed);
    for (int64_t number = 0; number < phases(p); ++number) {
      const TransposedPhases phase = TransposedPhases::of(p, number);
      const auto weight = [&](int64_t k, int64_t c, int64_t i, int64_t j) {
        const int64_t group = k / p.group_k(), row = phase.y.first - i * phase.y.apart;
        const int64_t column = phase.x.first - j * phase.x.apart, channel = group * p.group_c() + c;
        return w[((channel * p.group_k() + k % p.group_k()) * p.kh + row) * p.kw + column];
      };
      Launcher::pack(phase.shape(p), weight, to);
      to += Launcher::packed_elements(phase.shape(p));
    }
  }

  static Cost cost(const ConvTranspose2dParams& p) {
    Cost sum;
    for (int64_t number = 0; number < phases(p); ++number)
      sum += Launcher::cost(TransposedPhases::of(p, number).shape(p));
    return sum;
  }

  static const char* launch(const ConvTranspose2dParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Launcher::check(ptrs)) return reason;
    Ptrs mine = ptrs;
    for (int64_t number = 0; number < phases(p); ++number) {
      const ConvShape shape = TransposedPhases::of(p, number).shape(p);
      if (shape.pixels() > 0) {
        ConvArgs a = Launcher::arguments(shape, mine);
        a.to_h = static_cast<int>(p.oh), a.to_w = static_cast<int>(p.ow);
        a.to_sh = static_cast<int>(p.sh), a.to_sw = static_cast<int>(p.sw);
        a.to_y = static_cast<int>(number / p.sw), a.to_x = static_cast<int>(number % p.sw);
        if (const char* reason = Launcher::launch(a, p.groups, stream)) return reason;
      }
      mine.w = static_cast<const T*>(mine.w) + Launcher::packed_elements(shape);
    }
    return nullptr;
  }
};

template <Math kMath, Gather kGather>
constexpr Kernel<ConvTranspose2dParams> transposed_kernel(const char* name) {
  using K = TransposedKernel<ConvTile<kMath, kGather, 64, 64, 32, 32, kGather == Gather::kPieces ? 4 : 3, true>>;
  constexpr bool kTf32 = kMath == Math::kTf32, kAligned = kGather == Gather::kPieces;
  return {name, kDtypeOf<typename K::T>, K::why_not, K::packed_bytes, K::pack, K::launch, kTf32, kAligned, K::cost};
}

KernelList<ConvTranspose2dParams> conv_transpose2d_phases() {
  static constexpr Kernel<ConvTranspose2dParams> kernels[] = {
      transposed_kernel<Math::kBf16, Gather::kPieces>("conv_transpose2d_igemm64x64_bf16_sm80"),
      transposed_kernel<Math::kBf16, Gather::kElements>("conv_transpose2d_gather_bf16_sm80"),
      transposed_kernel<Math::kF16, Gather::kPieces>("conv_transpose2d_igemm64x64_f16_sm80"),
      transposed_kernel<Math::kF16, Gather::kElements>("conv_transpose2d_gather_f16_sm80"),
      transposed_kernel<Math::kTf32, Gather::kPieces>("conv_transpose2d_igemm64x64_tf32_sm80"),
      transposed_kernel<Math::kTf32, Gather::kElements>("conv_transpose2d_gather_tf32_sm80"),
      transposed_kernel<Math::kF32, Gather::kPieces>("conv_transpose2d_igemm64x64_f32_sm80"),
      transposed_kernel<Math::kF32, Gather::kElements>("conv_transpose2d_gather_f32_sm80"),
  };
  static constexpr const Kernel<ConvTranspose2dParams>* list[] = {&kernels[0], &kernels[1], &kernels[2], &kernels[3],
                                                                  &kernels[4], &kernels[5], &kernels[6], &kernels[7]};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn::cuda
