// Convolution with a square window, stride 1 or 2, or dilated, of few channels a group: depthwise with 5 x 5 and 7 x 7,
// groups of 2 to 16 channels with 3 x 3. Vectors run over output channels, a tile is P outputs of one row. Each row of the
// window is addressed once for all the outputs that it meets (11 inputs for 35 multiply-adds at 5 x 5), where the
// kernel for any depthwise window does so once a tap. With groups, a shuffle brings channel s of each group under the
// group's outputs, once for all taps of the row. The compiler makes the inputs memory operands of the multiply-adds; keeping them
// in registers was no faster.
#include "ops/conv2d/cost.h"
#include "ops/conv2d/depthwise.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Outputs of a tile: 7 divides the maps of 224 x 224 images, 8 those of 256 x 256. With 16 registers 4.
constexpr int kPixels = kLanes == 16 ? 7 : 4, kMorePixels = kLanes == 16 ? 8 : 4;

// Floats of a vector of output channels.
int64_t vector_floats(const Conv2dParams& p) { return p.kh * p.kw * p.group_c() * kLanes; }

int64_t packed_size(const Conv2dParams& p) { return panels_of(p.k) * vector_floats(p); }

// [k / kLanes][i][s][j][kLanes] with s the channel of the group, outputs padded to whole vectors with zeros.
void pack(const Conv2dParams& p, const float* w, float* packed) {
  const int64_t channels = p.group_c(), taps = p.kh * p.kw;
  for (int64_t k = 0; k < panels_of(p.k) * kLanes; ++k)
    for (int64_t s = 0; s < channels; ++s)
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t at = (t / p.kw * channels + s) * p.kw + t % p.kw;
        packed[k / kLanes * vector_floats(p) + at * kLanes + k % kLanes] =
            k < p.k ? w[(k * channels + s) * taps + t] : 0.0f;
      }
}

// Lane of the first channel of each lane's group, groups of `channels`.
IVec group_starts(int64_t channels) {
  IVec first;
  for (int lane = 0; lane < kLanes; ++lane)
    first[lane] = lane / static_cast<int>(channels) * static_cast<int>(channels);
  return first;
}

struct Row {
  Line line;
  Range taps;               // rows of the window that lie in the map
  int64_t x_row;            // elements from one of them to the next
  const Element* x;         // the first of them, column 0
  const Element* residual;  // of column 0; or null
  Element* y;               // of column 0
};

// Outputs ox .. ox + count of a row, channels c .. c + left. Inside: all columns of all windows lie in the map, count is P
// and left at least kLanes. Inlined, it loses its addresses to the stack (28^2 x 240, 5 x 5: 50 -> 58 us).
template <int K, int S, int P, bool kGrouped, bool kInside>
[[gnu::noinline]] void tile(const Conv2dParams& p, const Ptrs& ptrs, const Row& row, int64_t ox, int count, int64_t c,
                            int64_t left) {
  constexpr int kColumns = (P - 1) * S + K;
  const bool whole = kInside || left >= kLanes;
  const auto get = [&](const auto* at)
                       __attribute__((always_inline)) { return whole ? load(at) : load_first(at, left); };
  const Vec bias = ptrs.bias ? get(ptrs.bias + c) : Vec{};
  Vec acc[P];
#pragma GCC unroll 8
  for (int q = 0; q < P; ++q) acc[q] = bias;
  const int64_t x0 = ox * S - row.line.pad, ldx = row.line.ldx, width = row.line.w;
  const Element* x_row = row.x + x0 * ldx + c;
  const int64_t channels = kGrouped ? p.group_c() : 1;
  const float* w = ptrs.w + c / kLanes * vector_floats(p) + row.taps.begin * channels * K * kLanes;
  const IVec first = kGrouped ? group_starts(channels) : IVec{};
  for (int64_t i = row.taps.begin; i < row.taps.end; ++i, x_row += row.x_row) {
    Vec x[kColumns];
#pragma GCC unroll 20
    for (int j = 0; j < kColumns; ++j) x[j] = kInside || (x0 + j >= 0 && x0 + j < width) ? get(x_row + j * ldx) : Vec{};
    for (int s = 0; s < channels; ++s, w += K * kLanes) {
      Vec of[kColumns];
#pragma GCC unroll 20
      for (int j = 0; j < kColumns; ++j) of[j] = kGrouped ? __builtin_shuffle(x[j], first + s) : x[j];
#pragma GCC unroll 8
      for (int j = 0; j < K; ++j) {
        const Vec f = load(w + j * kLanes);
#pragma GCC unroll 8
        for (int q = 0; q < P; ++q) acc[q] += f * of[q * S + j];
      }
    }
  }
  // Copies: what a store may alias would be read again behind it.
  const int64_t ldy = row.line.ldy, ldr = row.line.ldr;
  Element* y = row.y + ox * ldy + c;
  const Element* residual = row.residual ? row.residual + ox * ldr + c : nullptr;
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
#pragma GCC unroll 8
  for (int q = 0; q < P; ++q) {
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

template <int K, int S, int P, bool kGrouped>
void tiles(const Conv2dParams& p, const Ptrs& ptrs, const Row& row, Range channels) {
  for (int64_t ox = 0; ox < row.line.ow; ox += P) {
    const int64_t x0 = ox * S - row.line.pad, rest = row.line.ow - ox;
    const bool inside = rest >= P && x0 >= 0 && x0 + (P - 1) * S + K <= row.line.w;
    const int count = static_cast<int>(rest < P ? rest : P);
    for (int64_t c = channels.begin; c < channels.end; c += kLanes) {
      if (inside && p.c - c >= kLanes)
        tile<K, S, P, kGrouped, true>(p, ptrs, row, ox, P, c, kLanes);
      else
        tile<K, S, P, kGrouped, false>(p, ptrs, row, ox, count, c, p.c - c);
    }
  }
}

// One row of outputs, channels [channels).
template <int K, int S, int P, bool kGrouped>
void one_row(const Conv2dParams& p, const Ptrs& ptrs, int64_t r, Range channels) {
  const int64_t y0 = r % p.oh * S - p.ph;
  Row row{};
  row.taps = rows_inside(y0, K, p.dh, p.h);
  row.x_row = p.dh * p.w * p.ldx;
  const int64_t first = (r / p.oh * p.h + y0 + row.taps.begin * p.dh) * p.w;
  for (int64_t phase = 0; phase < p.dw && phase < p.ow; ++phase) {
    row.line = line_of(p, phase);
    row.x = ptrs.x + (first + row.line.x_begin) * p.ldx;
    row.y = ptrs.y + (r * p.ow + phase) * p.ldy;
    row.residual = ptrs.residual ? ptrs.residual + (r * p.ow + phase) * p.ldr : nullptr;
    tiles<K, S, P, kGrouped>(p, ptrs, row, channels);
  }
  finish_row(p, ptrs, r, channels);
}

template <int K, int S, int P, bool kGrouped>
void rows(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range mine = share(p.n * p.oh, worker);
  const int64_t block = block_channels(p, K * p.w + p.ow);  // the rows under a row of outputs, and that row
  for (int64_t first = mine.begin; first < mine.end;) {
    const int64_t image_end = (first / p.oh + 1) * p.oh, end = image_end < mine.end ? image_end : mine.end;
    for (int64_t c = 0; c < p.c; c += block)
      for (int64_t r = first; r < end; ++r)
        one_row<K, S, P, kGrouped>(p, ptrs, r, {c, c + block < p.c ? c + block : p.c});
    first = end;
  }
}

template <int K, int S, bool kGrouped>
void any_rows(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const auto wasted = [&](int64_t pixels) { return (pixels - line_of(p, 0).ow % pixels) % pixels; };
  wasted(kMorePixels) < wasted(kPixels) ? rows<K, S, kMorePixels, kGrouped>(p, ptrs, worker)
                                        : rows<K, S, kPixels, kGrouped>(p, ptrs, worker);
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  void (*by_window)(const Conv2dParams&, const Ptrs&, Worker) =
      p.kh == 5 ? (p.sh == 1 ? any_rows<5, 1, false> : any_rows<5, 2, false>)
                : (p.sh == 1 ? any_rows<7, 1, false> : any_rows<7, 2, false>);
  by_window(p, ptrs, worker);
}

void run_grouped(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  p.sh == 1 ? any_rows<3, 1, true>(p, ptrs, worker) : any_rows<3, 2, true>(p, ptrs, worker);
}

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_depthwise(p, m)) return reason;
  if (p.kh != p.kw || (p.kh != 5 && p.kh != 7)) return "needs a window of 5 x 5 or 7 x 7";
  return why_not_steps(p);
}

const char* why_not_grouped(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (const char* reason = why_not_prologue(p)) return reason;
  if (p.x_nchw) return "needs an NHWC input";
  const int64_t channels = p.group_c();
  if (p.c != p.k || channels < 2 || kLanes % channels != 0)
    return "needs as many outputs as inputs, in groups of 2, 4, 8, .. within a vector";
  if (p.kh != 3 || p.kw != 3) return "needs a window of 3 x 3";
  return why_not_steps(p);
}

// Against the kernels that take groups one by one, Winograd's among them (16 channels: it is the faster one there).
double cost_grouped(const Conv2dParams& p, int workers) {
  constexpr double kRate = 0.65;  // of the multiply rate: a shuffle for three multiply-adds
  const double vectors = static_cast<double>(p.pixels()) * static_cast<double>(packed_size(p)) / kLanes;
  return predicted(vectors / kRate / workers, static_cast<double>(packed_size(p)));
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_grouped{"conv2d_grouped_" PYCNN_KERNEL_SUFFIX,
                                                   why_not_grouped,
                                                   packed_size,
                                                   pack,
                                                   no_workspace<Conv2dParams>,
                                                   run_grouped,
                                                   cost_grouped};

extern const KernelOf<Conv2dParams> conv2d_depthwise_window{
    "conv2d_depthwise_window_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, no_workspace<Conv2dParams>, run};

}  // namespace pycnn::PYCNN_ISA_NS
