// Depthwise 3 x 3 convolution, stride 1 or 2, or dilated. Vectors run over channels; a vector walks along one or two rows of outputs
// with the nine weights in registers. Each input of a column is loaded once and goes to every output whose window holds
// it: at stride 1 the sums of three columns of outputs are in flight, and two rows take 4 loads for 18 multiply-adds.
#include "ops/conv2d/depthwise.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int kRows = kLanes == 16 ? 2 : 1;  // of outputs at once: 16 registers hold the sums of one beside the weights
constexpr int K = 3, kTaps = K * K;

int64_t packed_size(const Conv2dParams& p) { return kTaps * panels_of(p.c) * kLanes; }

// [c / kLanes][i][j][kLanes], channels padded to whole vectors with zeros.
void pack(const Conv2dParams& p, const float* w, float* packed) {
  for (int64_t c = 0; c < panels_of(p.c) * kLanes; ++c)
    for (int64_t t = 0; t < kTaps; ++t)
      packed[(c / kLanes * kTaps + t) * kLanes + c % kLanes] = c < p.c ? w[c * kTaps + t] : 0.0f;
}

// One vector of channels along rows of outputs.
struct Walk {
  Line line;
  const Element* x;             // column 0 of the first row of inputs in the map under the first row of outputs
  int64_t row;                  // elements from one row of inputs that a window sees to the next
  int64_t y_row, residual_row;  // elements from one row of outputs to the next
  Range taps;                   // rows of that window that lie in the map
  const float* w;               // [i][j][kLanes]
  const float* bias;
  const Element* residual;  // of column 0; or null
  Element* y;               // of column 0
  int64_t left;             // channels from here on
};

template <int I>
struct Const {
  static constexpr int value = I;
};

// f(Const<Begin>), f(Const<Begin + 1>), .. until one returns true or End is reached; whether one did. A loop that ends
// early is not unrolled, and sums whose index is no constant live in memory.
template <int Begin, int End, class F>
PYCNN_INLINE bool until(const F& f) {
  if constexpr (Begin == End) {
    return false;
  } else {
    if (f(Const<Begin>{})) return true;
    return until<Begin + 1, End>(f);
  }
}

// Sums in flight. Output o of a row takes columns t = S o .. S o + 2, t counted from the left of the padding, and lives in
// sum o % kLive: the one that column t's tap j belongs to is (t - j) / S % kLive. After kPeriod columns all repeats.
template <int S>
struct Ring {
  static constexpr int kLive = (K + S - 1) / S, kPeriod = kLive * S;
  static constexpr bool has(int t, int j) { return t >= j && (t - j) % S == 0; }
  static constexpr int sum(int t, int j) { return (t - j) / S % kLive; }
};

// Read in place of a column outside the map.
alignas(64) constexpr Element kZeros[kLanes] = {};

// kWhole: all rows of the windows lie in the map; else kOut, the rows of outputs, is 1. kTail: fewer than kLanes channels
// are left.
template <int S, int kOut, bool kWhole, bool kTail>
void walk(const Conv2dParams& p, const Walk& at) {
  using Sums = Ring<S>;
  const int64_t left = at.left;
  const auto get = [&](const auto* from)
                       __attribute__((always_inline)) { return kTail ? load_first(from, left) : load(from); };
  const Vec bias = at.bias ? get(at.bias) : Vec{}, lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
  Vec weights[kTaps], sums[kOut][Sums::kLive];
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) weights[t] = load(at.w + t * kLanes);
#pragma GCC unroll 2
  for (int r = 0; r < kOut; ++r)
#pragma GCC unroll 3
    for (int s = 0; s < Sums::kLive; ++s) sums[r][s] = bias;

  // v, of column t, times the three weights of a row of the window, to the outputs of row r.
  const auto add = [&](auto t, int r, const Vec* w, Vec v) __attribute__((always_inline)) {
#pragma GCC unroll 3
    for (int j = 0; j < K; ++j)
      if (Sums::has(t.value, j)) sums[r][Sums::sum(t.value, j)] += w[j] * v;
  };
  const int64_t width = at.line.w, ldx = at.line.ldx, x_row = at.row;
  const Element* x = at.x - at.line.pad * ldx;
  int64_t x0 = -at.line.pad;
  const auto pass = [&](auto t) __attribute__((always_inline)) {
    const bool in = static_cast<uint64_t>(x0) < static_cast<uint64_t>(width);
    const Element* from = in ? x : kZeros;
    const int64_t row = in ? x_row : 0;
    ++x0, x += ldx;
    if constexpr (kWhole) {
#pragma GCC unroll 5
      for (int i = 0; i < (kOut - 1) * S + K; ++i, from += row) {
        Vec v = get(from);
        pin(v);
#pragma GCC unroll 2
        for (int r = 0; r < kOut; ++r)
          if (i - r * S >= 0 && i - r * S < K) add(t, r, weights + (i - r * S) * K, v);
      }
    } else {
#pragma GCC unroll 3
      for (int i = 0; i < K; ++i) {
        if (i < at.taps.begin || i >= at.taps.end) continue;
        Vec v = get(from);
        pin(v);
        add(t, 0, weights + i * K, v);
        from += row;
      }
    }
    return false;
  };
  until<0, K - 1>(pass);

  Element* y = at.y;
  const Element* residual = at.residual;
  const int64_t y_row = at.y_row, residual_row = at.residual_row, ldy = at.line.ldy, ldr = at.line.ldr;
  int64_t outputs = at.line.ow;
  const auto finish = [&](auto t) __attribute__((always_inline)) {
    pass(t);
    if constexpr (!Sums::has(t.value, K - 1)) return false;
#pragma GCC unroll 2
    for (int r = 0; r < kOut; ++r) {
      Vec& sum = sums[r][Sums::sum(t.value, K - 1)];
      Vec v = residual ? sum + get(residual + r * residual_row) : sum;
      v = at_most(at_least(v, lo), hi);
      if constexpr (kTail)
        store_first(y + r * y_row, v, left);
      else
        store(y + r * y_row, v);
      sum = bias;
    }
    y += ldy;
    if (residual) residual += ldr;
    return --outputs == 0;
  };
  while (!until<K - 1, K - 1 + Sums::kPeriod>(finish)) {
  }
}

template <int S, bool kTail>
void walk_rows(const Conv2dParams& p, const Walk& at, int64_t count) {
  if (kRows > 1 && count == kRows)
    walk<S, kRows, true, kTail>(p, at);
  else if (at.taps.begin == 0 && at.taps.end == K)
    walk<S, 1, true, kTail>(p, at);
  else
    walk<S, 1, false, kTail>(p, at);
}

// `count` rows of outputs of one image from row r on, dh rows apart, channels [channels).
template <int S>
void some_rows(const Conv2dParams& p, const Ptrs& ptrs, int64_t r, int64_t count, Range channels) {
  const int64_t y0 = r % p.oh * S - p.ph;
  Walk at{};
  at.taps = rows_inside(y0, K, p.dh, p.h);
  at.row = p.dh * p.w * p.ldx, at.y_row = p.dh * p.ow * p.ldy, at.residual_row = p.dh * p.ow * p.ldr;
  const int64_t x_first = (r / p.oh * p.h + y0 + at.taps.begin * p.dh) * p.w;
  for (int64_t phase = 0; phase < p.dw && phase < p.ow; ++phase) {
    at.line = line_of(p, phase);
    const int64_t first = r * p.ow + phase;
    for (int64_t c = channels.begin; c < channels.end; c += kLanes) {
      at.x = ptrs.x + (x_first + at.line.x_begin) * p.ldx + c;
      at.w = ptrs.w + c * kTaps;
      at.bias = ptrs.bias ? ptrs.bias + c : nullptr;
      at.residual = ptrs.residual ? ptrs.residual + first * p.ldr + c : nullptr;
      at.y = ptrs.y + first * p.ldy + c;
      at.left = p.c - c;
      at.left < kLanes ? walk_rows<S, true>(p, at, count) : walk_rows<S, false>(p, at, count);
    }
  }
  for (int64_t i = 0; i < count; ++i) finish_row(p, ptrs, r + i * p.dh, channels);
}

// Rows [mine) of one image, channels [channels): those dh apart share their inputs.
template <int S>
void rows_of_image(const Conv2dParams& p, const Ptrs& ptrs, Range mine, Range channels) {
  for (int64_t phase = 0; phase < p.dh; ++phase)
    for (int64_t r = mine.begin + phase, count; r < mine.end; r += count * p.dh) {
      const int64_t y0 = r % p.oh * S - p.ph, last = y0 + ((kRows - 1) * S + K - 1) * p.dh;
      count = r + (kRows - 1) * p.dh < mine.end && y0 >= 0 && last < p.h ? kRows : 1;
      some_rows<S>(p, ptrs, r, count, channels);
    }
}

template <int S>
void rows(const Conv2dParams& p, const Ptrs& ptrs, Range mine) {
  // The rows under the rows of outputs of a walk, and those.
  const int64_t block = block_channels(p, (K + (kRows - 1) * S) * p.w + kRows * p.ow);
  for (int64_t first = mine.begin; first < mine.end;) {
    const int64_t image_end = (first / p.oh + 1) * p.oh, end = image_end < mine.end ? image_end : mine.end;
    for (int64_t c = 0; c < p.c; c += block)
      rows_of_image<S>(p, ptrs, {first, end}, {c, c + block < p.c ? c + block : p.c});
    first = end;
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range mine = share(p.n * p.oh, worker);
  p.sh == 1 ? rows<1>(p, ptrs, mine) : rows<2>(p, ptrs, mine);
}

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_depthwise(p, m)) return reason;
  if (p.kh != K || p.kw != K) return "needs a window of 3 x 3";
  return why_not_steps(p);
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_depthwise3x3{
    "conv2d_depthwise3x3_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, no_workspace<Conv2dParams>, run};

}  // namespace pycnn::PYCNN_ISA_NS
