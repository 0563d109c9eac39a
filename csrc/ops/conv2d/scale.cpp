// One 1 x 1 filter a channel: a scale and a shift, as a batch norm that no convolution took.
#include "base/simd/activate.h"
#include "base/simd/gemm.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kPixels = 16;  // an activation that is no clamp follows while their rows are in L1
constexpr int64_t kAtOnce = 4;   // vectors

int64_t packed_size(const Conv2dParams& p) { return panels_of(p.c) * kLanes; }

void pack(const Conv2dParams& p, const float* w, float* packed) {
  for (int64_t c = 0; c < packed_size(p); ++c) packed[c] = c < p.c ? w[c] : 0.0f;
}

struct Row {
  const Element *x, *residual;
  Element* y;
};

// Channels c .. c + N * kLanes of one pixel.
template <int N>
PYCNN_INLINE void whole(const Ptrs& ptrs, const Row& row, int64_t c, Vec lo, Vec hi) {
  Vec v[N];
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) {
    const int64_t at = c + i * kLanes;
    v[i] = load(row.x + at) * load(ptrs.w + at);
    if (ptrs.bias) v[i] += load(ptrs.bias + at);
    if (row.residual) v[i] += load(row.residual + at);
  }
#pragma GCC unroll 4
  for (int i = 0; i < N; ++i) store(row.y + c + i * kLanes, at_most(at_least(v[i], lo), hi));
}

void part(const Ptrs& ptrs, const Row& row, int64_t c, int64_t left, Vec lo, Vec hi) {
  Vec v = load_first(row.x + c, left) * load(ptrs.w + c);
  if (ptrs.bias) v += load_first(ptrs.bias + c, left);
  if (row.residual) v += load_first(row.residual + c, left);
  store_first(row.y + c, at_most(at_least(v, lo), hi), left);
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range mine = share(p.pixels(), worker);
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
  for (int64_t first = mine.begin; first < mine.end; first += kPixels) {
    const int64_t end = first + kPixels < mine.end ? first + kPixels : mine.end;
    for (int64_t pixel = first; pixel < end; ++pixel) {
      const Row row{ptrs.x + pixel * p.ldx, ptrs.residual ? ptrs.residual + pixel * p.ldr : nullptr,
                    ptrs.y + pixel * p.ldy};
      int64_t c = 0;
      for (; c + kAtOnce * kLanes <= p.c; c += kAtOnce * kLanes) whole<kAtOnce>(ptrs, row, c, lo, hi);
      for (; c + kLanes <= p.c; c += kLanes) whole<1>(ptrs, row, c, lo, hi);
      if (c < p.c) part(ptrs, row, c, p.c - c, lo, hi);
    }
    if (!is_clamp(p.act))
      activate_rows(ptrs.y + first * p.ldy, p.ldy, end - first, p.c, p.act, static_cast<float>(p.act_param));
  }
}

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (const char* reason = why_not_prologue(p)) return reason;
  if (p.groups != p.c || p.k != p.c) return "needs groups == c == k";
  if (p.kh != 1 || p.kw != 1 || p.sh != 1 || p.sw != 1) return "needs a 1 x 1 window at stride 1";
  if (p.ph != 0 || p.pw != 0 || p.oh != p.h || p.ow != p.w) return "needs a map without padding";
  if (p.x_nchw) return "needs an NHWC input";
  return nullptr;
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_scale{"conv2d_scale_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack,
                                                 no_workspace<Conv2dParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
