// GEMM over gathered patches: each tile of pixels is copied to rows of kh * kw * c floats first. For few input channels
// (stems), where a tap alone is too short a run, and for contiguous NCHW inputs, which it reads directly.
#include "base/simd/gemm.h"
#include "ops/conv2d/pack.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// Rows have a vector of slack: runs are copied by whole vectors, in order, so that each overwrites the last one's excess.
int64_t row_floats(const Conv2dParams& p) { return (reduction(p) + kLanes + 15) / 16 * 16; }

int64_t workspace(const Conv2dParams& p, int workers) { return workers * kMaxRows * row_floats(p); }

// Columns j of the kernel that fall inside [0, w) for a patch that starts at x0.
Range inside(int64_t x0, int64_t taps, int64_t dilation, int64_t size) {
  const int64_t begin = x0 >= 0 ? 0 : (-x0 + dilation - 1) / dilation;
  const int64_t end = x0 >= size ? 0 : (size - 1 - x0) / dilation + 1;
  return {begin < taps ? begin : taps, end < taps ? end : taps};
}

PYCNN_INLINE void copy(float* to, const float* from, int64_t count) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(to + i, load(from + i));
  if (i < count) store(to + i, load_first(from + i, count - i));
}
PYCNN_INLINE void zero(float* to, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) store(to + i, Vec{});
}

struct Patch {
  int64_t n, y0, x0;
  Range columns;
};

// Order (i, j, c): a kernel row is one run when pixels are adjacent.
void gather_nhwc(const Conv2dParams& p, const float* x, const Patch& at, int64_t c0, float* row) {
  const int64_t cs = p.group_c();
  const bool one_run = p.dw == 1 && p.ldx == cs;
  for (int64_t i = 0; i < p.kh; ++i, row += p.kw * cs) {
    const int64_t y = at.y0 + i * p.dh;
    if (y < 0 || y >= p.h || at.columns.begin >= at.columns.end) {
      zero(row, p.kw * cs);
      continue;
    }
    const float* line = x + (at.n * p.h + y) * p.w * p.ldx + c0;
    zero(row, at.columns.begin * cs);
    if (one_run) {
      copy(row + at.columns.begin * cs, line + (at.x0 + at.columns.begin) * cs,
           (at.columns.end - at.columns.begin) * cs);
    } else {
      for (int64_t j = at.columns.begin; j < at.columns.end; ++j)
        copy(row + j * cs, line + (at.x0 + j * p.dw) * p.ldx, cs);
    }
    zero(row + at.columns.end * cs, (p.kw - at.columns.end) * cs);
  }
}

// Order (c, i, j): torch's own, a kernel row of one channel is one run.
void gather_nchw(const Conv2dParams& p, const float* x, const Patch& at, int64_t c0, float* row) {
  for (int64_t c = c0; c < c0 + p.group_c(); ++c)
    for (int64_t i = 0; i < p.kh; ++i, row += p.kw) {
      const int64_t y = at.y0 + i * p.dh;
      if (y < 0 || y >= p.h || at.columns.begin >= at.columns.end) {
        zero(row, p.kw);
        continue;
      }
      const float* line = x + ((at.n * p.c + c) * p.h + y) * p.w + at.x0;
      zero(row, at.columns.begin);
      if (p.dw == 1)
        copy(row + at.columns.begin, line + at.columns.begin, at.columns.end - at.columns.begin);
      else
        for (int64_t j = at.columns.begin; j < at.columns.end; ++j) row[j] = line[j * p.dw];
      zero(row + at.columns.end, p.kw - at.columns.end);
    }
}

// Where an output pixel is; divisions are paid once a tile.
struct Cursor {
  int64_t n, oy, ox;
  Cursor(const Conv2dParams& p, int64_t pixel)
      : n(pixel / (p.ow * p.oh)), oy(pixel / p.ow % p.oh), ox(pixel % p.ow) {}
  void next(const Conv2dParams& p) {
    if (++ox < p.ow) return;
    ox = 0;
    if (++oy == p.oh) oy = 0, ++n;
  }
};

void gather(const Conv2dParams& p, const float* x, int64_t pixel, int mr, int64_t c0, float* rows) {
  Cursor cursor(p, pixel);
  for (int r = 0; r < mr; ++r, cursor.next(p)) {
    Patch at{cursor.n, cursor.oy * p.sh - p.ph, cursor.ox * p.sw - p.pw, {0, p.kw}};
    if (at.x0 < 0 || at.x0 + (p.kw - 1) * p.dw >= p.w) at.columns = inside(at.x0, p.kw, p.dw, p.w);
    float* row = rows + r * row_floats(p);
    if (p.x_nchw)
      gather_nchw(p, x, at, c0, row);
    else
      gather_nhwc(p, x, at, c0, row);
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range pixels = share(p.pixels(), worker);
  if (pixels.begin >= pixels.end) return;
  float* rows = ptrs.workspace + worker.id * kMaxRows * row_floats(p);
  const float* pointers[kMaxRows];
  for (int r = 0; r < kMaxRows; ++r) pointers[r] = rows + r * row_floats(p);

  const int64_t ks = p.group_k(), total = pixels.end - pixels.begin;
  const int64_t tiles = (total + kMaxRows - 1) / kMaxRows;
  Tile tile{};
  tile.rows = pointers, tile.taps = 1, tile.depth = reduction(p), tile.panel = reduction(p) * kLanes;
  tile.ldr = p.ldr, tile.ldy = p.ldy, tile.n = ks;
  tile.lo = clamp_lo(p.act), tile.hi = clamp_hi(p.act);
  for (int64_t t = 0; t < tiles; ++t) {
    const Range r{pixels.begin + total * t / tiles, pixels.begin + total * (t + 1) / tiles};
    const int mr = static_cast<int>(r.end - r.begin);
    for (int64_t g = 0; g < p.groups; ++g) {
      gather(p, ptrs.x, r.begin, mr, g * p.group_c(), rows);
      tile.bias = ptrs.bias ? ptrs.bias + g * ks : nullptr;
      tile.w = ptrs.w + g * group_panels(p) * tile.panel;
      tile.y = ptrs.y + r.begin * p.ldy + g * ks;
      tile.residual = ptrs.residual ? ptrs.residual + r.begin * p.ldr + g * ks : nullptr;
      run_panels(tile, mr, 0, group_panels(p), p.act, static_cast<float>(p.act_param));
    }
  }
}

void pack(const Conv2dParams& p, const float* w, float* packed) {
  pack_panels(p, w, packed, p.x_nchw != 0);
}

const char* why_not(const Conv2dParams&, const Machine& m) { return why_not_isa(kIsa, m); }

}  // namespace

extern const Conv2dKernel conv2d_patch{
    "conv2d_patch_f32_" PYCNN_ISA_SUFFIX, why_not, panel_floats, pack, workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
