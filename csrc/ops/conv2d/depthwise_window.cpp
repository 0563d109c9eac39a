// Depthwise convolution with a square window of 5 or 7, stride 1 or 2: vectors run over channels, a tile is kPixels
// outputs of one row. Each row of the window is addressed once for all the outputs that it meets (11 inputs for 35
// multiply-adds at 5 x 5), where the kernel for any window does so once a tap. The compiler makes the inputs memory
// operands of the multiply-adds; keeping them in registers was no faster.
#include "base/simd/activate.h"
#include "ops/conv2d/depthwise.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Outputs of a tile: 7 divides the maps of 224 x 224 images. With 16 registers 4.
constexpr int kPixels = kLanes == 16 ? 7 : 4;

int64_t padded_c(const Conv2dParams& p) { return panels_of(p.c) * kLanes; }

int64_t packed_size(const Conv2dParams& p) { return p.kh * p.kw * padded_c(p); }

// [i][j][c], channels padded to whole vectors with zeros.
void pack(const Conv2dParams& p, const float* w, float* packed) {
  for (int64_t t = 0; t < p.kh * p.kw; ++t)
    for (int64_t c = 0; c < padded_c(p); ++c) packed[t * padded_c(p) + c] = c < p.c ? w[c * p.kh * p.kw + t] : 0.0f;
}

struct Row {
  int64_t n, oy;
  Range taps;        // rows of the window that lie in the map
  const Element* x;  // the map's row under the first of them, column 0
};

// Outputs ox .. ox + count of a row, channels c .. c + left. Inside: all columns of all windows lie in the map, count is
// kPixels and left at least kLanes.
template <int K, int S, bool kInside>
void tile(const Conv2dParams& p, const Ptrs& ptrs, const Row& row, int64_t ox, int count, int64_t c, int64_t left) {
  constexpr int kColumns = (kPixels - 1) * S + K;
  const bool whole = kInside || left >= kLanes;
  const auto get = [&](const auto* at)
                       __attribute__((always_inline)) { return whole ? load(at) : load_first(at, left); };
  const Vec bias = ptrs.bias ? get(ptrs.bias + c) : Vec{};
  Vec acc[kPixels];
#pragma GCC unroll 8
  for (int q = 0; q < kPixels; ++q) acc[q] = bias;
  const int64_t x0 = ox * S - p.pw;
  const Element* line = row.x + x0 * p.ldx + c;
  const float* w = ptrs.w + row.taps.begin * K * padded_c(p) + c;
  for (int64_t i = row.taps.begin; i < row.taps.end; ++i, line += p.w * p.ldx, w += K * padded_c(p)) {
    Vec x[kColumns];
#pragma GCC unroll 20
    for (int j = 0; j < kColumns; ++j) x[j] = kInside || (x0 + j >= 0 && x0 + j < p.w) ? get(line + j * p.ldx) : Vec{};
#pragma GCC unroll 8
    for (int j = 0; j < K; ++j) {
      const Vec f = load(w + j * padded_c(p));
#pragma GCC unroll 8
      for (int q = 0; q < kPixels; ++q) acc[q] += f * x[q * S + j];
    }
  }
  // Copies: what a store may alias would be read again behind it.
  const int64_t pixel = (row.n * p.oh + row.oy) * p.ow + ox, ldy = p.ldy, ldr = p.ldr;
  Element* y = ptrs.y + pixel * ldy + c;
  const Element* residual = ptrs.residual ? ptrs.residual + pixel * ldr + c : nullptr;
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
#pragma GCC unroll 8
  for (int q = 0; q < kPixels; ++q) {
    if (!kInside && q >= count) break;
    Vec v = acc[q];
    if (residual) v += get(residual + q * ldr);
    v = at_most(at_least(v, lo), hi);
    if (whole)
      store(y + q * ldy, v);
    else
      store_first(y + q * ldy, v, left);
  }
}

// One row of outputs, channels [channels).
template <int K, int S>
void one_row(const Conv2dParams& p, const Ptrs& ptrs, int64_t r, Range channels) {
  Row row{r / p.oh, r % p.oh, {0, K}, nullptr};
  const int64_t y0 = row.oy * S - p.ph;
  if (y0 < 0) row.taps.begin = -y0 < K ? -y0 : K;
  if (y0 + K > p.h) row.taps.end = p.h > y0 ? p.h - y0 : 0;
  row.x = ptrs.x + (row.n * p.h + y0 + row.taps.begin) * p.w * p.ldx;
  for (int64_t ox = 0; ox < p.ow; ox += kPixels) {
    const int64_t x0 = ox * S - p.pw;
    const bool inside = ox + kPixels <= p.ow && x0 >= 0 && x0 + (kPixels - 1) * S + K <= p.w;
    const int count = static_cast<int>(p.ow - ox < kPixels ? p.ow - ox : kPixels);
    for (int64_t c = channels.begin; c < channels.end; c += kLanes) {
      if (inside && p.c - c >= kLanes)
        tile<K, S, true>(p, ptrs, row, ox, kPixels, c, kLanes);
      else
        tile<K, S, false>(p, ptrs, row, ox, count, c, p.c - c);
    }
  }
  if (!is_clamp(p.act))
    activate_rows(ptrs.y + r * p.ow * p.ldy + channels.begin, p.ldy, p.ow, channels.end - channels.begin, p.act,
                  static_cast<float>(p.act_param));
}

template <int K, int S>
void rows(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range mine = share(p.n * p.oh, worker);
  const int64_t block = block_channels(p, K * p.w + p.ow);  // the rows under a row of outputs, and that row
  for (int64_t first = mine.begin; first < mine.end;) {
    const int64_t image_end = (first / p.oh + 1) * p.oh, end = image_end < mine.end ? image_end : mine.end;
    for (int64_t c = 0; c < p.c; c += block)
      for (int64_t r = first; r < end; ++r) one_row<K, S>(p, ptrs, r, {c, c + block < p.c ? c + block : p.c});
    first = end;
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  void (*by_window)(const Conv2dParams&, const Ptrs&, Worker) =
      p.kh == 5 ? (p.sh == 1 ? rows<5, 1> : rows<5, 2>) : (p.sh == 1 ? rows<7, 1> : rows<7, 2>);
  by_window(p, ptrs, worker);
}

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_depthwise(p, m)) return reason;
  if (p.kh != p.kw || (p.kh != 5 && p.kh != 7)) return "needs a window of 5 x 5 or 7 x 7";
  return why_not_steps(p);
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_depthwise_window{
    "conv2d_depthwise_window_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, no_workspace<Conv2dParams>, run};

}  // namespace pycnn::PYCNN_ISA_NS
