// Convolution of few channels, as the first of a network: a pixel is too short a run for the implicit GEMM, and a pointer
// for each pixel and tap would cost as much as the products. The rows of inputs under a row of outputs are copied to
// lines, one a channel, with their padding, and dealt to sw phases: phase s of a line holds columns s, s + sw, .. Pixels
// that are neighbours in the output are then neighbours in the line at every tap. A line is copied once, into a ring. Lines
// and weights are fp32: pairs of bf16 would have to be pairs of channels, of which there are three.
#include "base/simd/activate.h"
#include "base/simd/gemm.h"
#include "ops/conv2d/pack.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kMostChannels = 8;  // of NHWC: from there on the implicit GEMM reads in place
// Columns of a window of NCHW up to which fp32 lines beat products of pairs on patches: 3x3 116 us against 154, 7x7 930
// against 735; from NHWC, where a run is kw * c, 3x3 150 against 109.
constexpr int64_t kWorthLines = 4;
// Tiles end with a row of outputs, those of patches do not. From NHWC patches are read in place: with rows of 8 and 10
// outputs, 6 channels and 5x5 windows (LeNet's second layer) they take 1.24 us for 1.70, and 1.85 for 2.26.
int64_t least_width(const Conv2dParams& p) { return p.x_nchw ? kMaxRows / 2 + 1 : kMaxRows; }

// The workspace of a worker: lines [ring][c][sw][length], a line of zeros; the row of the batch that each place of the ring
// holds, pointers [c][kh] to the lines under a row of outputs, offsets [kw] of the taps in a line.
struct Lines {
  int64_t length, floats, ring;  // of a phase; of a line; rows of inputs kept
  explicit Lines(const Conv2dParams& p) {
    length = ((p.ow - 1) * p.sw + (p.kw - 1) * p.dw) / p.sw + 1;
    floats = length * p.sw;
    ring = (p.kh - 1) * p.dh + 1;
  }
  int64_t all(const Conv2dParams& p) const { return ((ring * p.c + 1) * floats + 15) / 16 * 16; }
  int64_t worker_floats(const Conv2dParams& p) const {
    const int64_t tables = p.c * p.kh * static_cast<int64_t>(sizeof(float*)) + (p.kw + ring) * 8;
    return all(p) + (tables / 4 + 15) / 16 * 16;
  }
};

int64_t workspace(const Conv2dParams& p, int workers) { return workers * Lines(p).worker_floats(p); }

struct StemTile : Tile {
  const float* panels;        // of weights
  const float* const* lines;  // [c][kh], at the first pixel of the row of outputs
  const int64_t* offsets;     // [kw]
  int64_t count, taps_x;      // c * kh, kw
};

template <int MR, int NV>
void tile_mn(const StemTile& t, int64_t ox) {
  Vec acc[MR][NV];
  clear(acc);
  const float* w = t.panels;
  for (int64_t l = 0; l < t.count; ++l) {
    const float* line = t.lines[l] + ox;
    for (int64_t tap = 0; tap < t.taps_x; ++tap, w += kLanes) {
      const float* x = line + t.offsets[tap];
      Vec b[NV];
#pragma GCC unroll 2
      for (int j = 0; j < NV; ++j) b[j] = load(w + j * t.panel);
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r)
#pragma GCC unroll 2
        for (int j = 0; j < NV; ++j) acc[r][j] += broadcast(x[r]) * b[j];
    }
  }
  finish(acc, t);
}

using StemFn = void (*)(const StemTile&, int64_t);

template <int MR, int NV>
StemFn stem_fn(int mr) {
  if constexpr (MR > 0) return mr == MR ? tile_mn<MR, NV> : stem_fn<MR - 1, NV>(mr);
  return nullptr;
}

// Writes row y of image n to its lines, one a channel; their borders are zero already.
void copy_row(const Conv2dParams& p, const Lines& lines, const Element* x, int64_t n, int64_t y, float* to) {
  const int64_t step = p.x_nchw ? 1 : p.ldx;
  for (int64_t c = 0; c < p.c; ++c)
    for (int64_t s = 0; s < p.sw; ++s, to += lines.length) {
      // Entry i is column i * sw + s - pw of the map.
      const int64_t first = p.pw > s ? (p.pw - s + p.sw - 1) / p.sw : 0;
      int64_t end = p.w + p.pw > s ? (p.w + p.pw - s + p.sw - 1) / p.sw : 0;
      if (end > lines.length) end = lines.length;
      const Element* row = p.x_nchw ? x + ((n * p.c + c) * p.h + y) * p.w : x + (n * p.h + y) * p.w * p.ldx + c;
      row += (s - p.pw) * step;
      if (p.sw * step == 1)
        for (int64_t i = first; i < end; ++i) to[i] = value_of(row[i]);
      else if (p.sw * step == 2)
        for (int64_t i = first; i < end; ++i) to[i] = value_of(row[2 * i]);
      else
        for (int64_t i = first; i < end; ++i) to[i] = value_of(row[i * p.sw * step]);
    }
}

// Outputs [begin, end) of the row whose lines t.lines are, in tiles of equal width, panel pair by panel pair.
void run_row(const Conv2dParams& p, const Ptrs& ptrs, StemTile& t, int64_t row, Range columns) {
  const int64_t size = columns.end - columns.begin, panels = panels_of(p.k), first = row * p.ow;
  const int tiles = static_cast<int>((size + kMaxRows - 1) / kMaxRows);
  for (int64_t q = 0; q < panels; q += 2) {
    const int nv = q + 1 < panels ? 2 : 1;
    const int64_t k = q * kLanes;
    t.panels = ptrs.w + q * t.panel;
    t.bias = ptrs.bias ? ptrs.bias + k : nullptr;
    t.n = p.k - k < nv * kLanes ? p.k - k : nv * kLanes;
    for (int i = 0; i < tiles; ++i) {
      const Range r = share(size, {i, tiles});
      const int64_t ox = columns.begin + r.begin;
      t.y = ptrs.y + (first + ox) * p.ldy + k;
      t.residual = ptrs.residual ? ptrs.residual + (first + ox) * p.ldr + k : nullptr;
      const int mr = static_cast<int>(r.end - r.begin);
      (nv == 2 ? stem_fn<kMaxRows, 2>(mr) : stem_fn<kMaxRows, 1>(mr))(t, ox);
    }
  }
  if (!is_clamp(p.act))
    activate_rows(ptrs.y + (first + columns.begin) * p.ldy, p.ldy, size, p.k, p.act, static_cast<float>(p.act_param));
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range pixels = share(p.pixels(), worker);
  if (pixels.begin >= pixels.end) return;
  const Lines lines(p);
  float* ring = ptrs.workspace + worker.id * lines.worker_floats(p);
  const int64_t row_floats = p.c * lines.floats;
  float* zeros = ring + lines.ring * row_floats;
  for (float* f = ring; f < zeros + lines.floats; ++f) *f = 0;
  auto* held = reinterpret_cast<int64_t*>(ring + lines.all(p));
  for (int64_t i = 0; i < lines.ring; ++i) held[i] = -1;
  auto** pointers = reinterpret_cast<const float**>(held + lines.ring);
  auto* offsets = reinterpret_cast<int64_t*>(pointers + p.c * p.kh);
  for (int64_t j = 0; j < p.kw; ++j) offsets[j] = j * p.dw % p.sw * lines.length + j * p.dw / p.sw;

  StemTile t{};
  t.lines = pointers, t.offsets = offsets, t.count = p.c * p.kh, t.taps_x = p.kw;
  t.panel = reduction(p) * kLanes, t.ldr = p.ldr, t.ldy = p.ldy;
  t.lo = clamp_lo(p.act), t.hi = clamp_hi(p.act);
  for (int64_t pixel = pixels.begin; pixel < pixels.end;) {
    const int64_t row = pixel / p.ow, n = row / p.oh, oy = row % p.oh;
    for (int64_t i = 0; i < p.kh; ++i) {
      const int64_t y = oy * p.sh - p.ph + i * p.dh;
      const bool inside = y >= 0 && y < p.h;
      const int64_t place = inside ? y % lines.ring : 0;
      float* line = ring + place * row_floats;
      if (inside && held[place] != n * p.h + y) {
        copy_row(p, lines, ptrs.x, n, y, line);
        held[place] = n * p.h + y;
      }
      for (int64_t c = 0; c < p.c; ++c) pointers[c * p.kh + i] = inside ? line + c * lines.floats : zeros;
    }
    const int64_t begin = pixel - row * p.ow, left = pixels.end - pixel;
    const int64_t end = begin + left < p.ow ? begin + left : p.ow;
    run_row(p, ptrs, t, row, {begin, end});
    pixel += end - begin;
  }
}

int64_t packed_size(const Conv2dParams& p) { return panel_floats<float>(p, p.kw); }

void pack(const Conv2dParams& p, const float* w, float* packed) { pack_panels<float>(p, w, packed, p.kw, true); }

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (const char* reason = why_not_prologue(p)) return reason;
  if (p.groups != 1) return "needs groups == 1";
  if (!p.x_nchw && p.c >= kMostChannels) return "needs fewer than 8 channels, or an NCHW input";
  if ((p.kw - 1) * p.dw + 1 <= p.sw) return "needs windows that overlap: else a copy is read once";
  if (Products<Element>::kRate > 1 && (!p.x_nchw || p.kw > kWorthLines))
    return "patches in pairs are faster where a run of them is longer than 4";
  if (p.ow < least_width(p)) return "needs rows of outputs of a tile, from NCHW of more than half of one";
  if (Lines(p).all(p) * 4 > m.l2_bytes / 2) return "needs rows of inputs that fit half the L2";
  return nullptr;
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_stem{
    "conv2d_stem_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
