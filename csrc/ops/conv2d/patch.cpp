// GEMM over patches, for few input channels (stems), where a pixel alone is too short a run, and for contiguous NCHW
// inputs. A patch is read run by run, a run being one row of the kernel: kw * c floats of NHWC, kw of a channel of NCHW.
// Runs inside the map are read in place; those that cross its border, or are not contiguous, are copied first.
#include "base/simd/gemm.h"
#include "ops/conv2d/pack.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

int64_t runs(const Conv2dParams& p) { return p.x_nchw ? p.group_c() * p.kh : p.kh; }
int64_t run_floats(const Conv2dParams& p) { return p.x_nchw ? p.kw : p.kw * p.group_c(); }
bool contiguous(const Conv2dParams& p) { return p.dw == 1 && (p.x_nchw || p.ldx == p.group_c()); }

constexpr int64_t kPointerFloats = sizeof(const float*) / sizeof(float);

// A worker's share: pointers [runs][kMaxRows], a run of zeros, copied patches [kMaxRows][reduction].
int64_t worker_floats(const Conv2dParams& p) {
  const int64_t pointers = runs(p) * kMaxRows * kPointerFloats;
  return (pointers + run_floats(p) + kMaxRows * reduction(p) + 15) / 16 * 16;
}

int64_t workspace(const Conv2dParams& p, int workers) { return workers * worker_floats(p); }

// Columns j of the kernel that fall inside [0, w) for a patch that starts at x0.
Range inside(int64_t x0, int64_t taps, int64_t dilation, int64_t size) {
  const int64_t begin = x0 >= 0 ? 0 : (-x0 + dilation - 1) / dilation;
  const int64_t end = x0 >= size ? 0 : (size - 1 - x0) / dilation + 1;
  return {begin < taps ? begin : taps, end < taps ? end : taps};
}

// Copies a run whose columns [columns) lie in the map; `line` is where column 0 of the map begins.
void copy_run(const Conv2dParams& p, const float* line, int64_t x0, Range columns, float* to) {
  const int64_t step = p.x_nchw ? 1 : p.ldx, width = p.x_nchw ? 1 : p.group_c();
  for (int64_t j = 0; j < p.kw; ++j, to += width)
    for (int64_t c = 0; c < width; ++c)
      to[c] = j >= columns.begin && j < columns.end ? line[(x0 + j * p.dw) * step + c] : 0.0f;
}

// Where an output pixel is; divisions are paid once a tile.
struct Cursor {
  int64_t n, oy, ox;
  Cursor(const Conv2dParams& p, int64_t pixel) : n(pixel / (p.ow * p.oh)), oy(pixel / p.ow % p.oh), ox(pixel % p.ow) {}
  void next(const Conv2dParams& p) {
    if (++ox < p.ow) return;
    ox = 0;
    if (++oy == p.oh) oy = 0, ++n;
  }
};

struct Scratch {
  const float** rows;  // [runs][mr]
  const float* zeros;
  float* copies;  // [mr][reduction]
};

// Pointers of a pixel whose patch lies inside the map: runs are a line apart, and at a channel's end a plane.
void point_inside(const Conv2dParams& p, const float* first, int mr, const float** to) {
  const int64_t line = p.dh * p.w * (p.x_nchw ? 1 : p.ldx), planes = p.x_nchw ? p.group_c() : 1;
  for (int64_t c = 0; c < planes; ++c, first += p.h * p.w)
    for (int64_t i = 0; i < p.kh; ++i, to += mr) *to = first + i * line;
}

// Fills scratch.rows for mr pixels from `pixel` on, channels from c0 on.
void point(const Conv2dParams& p, const float* x, int64_t pixel, int mr, int64_t c0, const Scratch& scratch) {
  const bool in_place = contiguous(p);
  const int64_t count = runs(p), width = run_floats(p), step = p.x_nchw ? 1 : p.ldx;
  Cursor cursor(p, pixel);
  for (int r = 0; r < mr; ++r, cursor.next(p)) {
    const int64_t y0 = cursor.oy * p.sh - p.ph, x0 = cursor.ox * p.sw - p.pw;
    const float* image = p.x_nchw ? x + (cursor.n * p.c + c0) * p.h * p.w : x + cursor.n * p.h * p.w * p.ldx + c0;
    const bool whole = in_place && x0 >= 0 && x0 + p.kw <= p.w;
    if (whole && y0 >= 0 && y0 + (p.kh - 1) * p.dh < p.h) {
      point_inside(p, image + (y0 * p.w + x0) * step, mr, scratch.rows + r);
      continue;
    }
    const Range columns = whole ? Range{0, p.kw} : inside(x0, p.kw, p.dw, p.w);
    const float** to = scratch.rows + r;
    for (int64_t t = 0; t < count; ++t, to += mr) {
      const int64_t y = y0 + t % p.kh * p.dh;  // run t is kernel row t % kh, of channel t / kh where x is NCHW
      const float* line = image + (t / p.kh * p.h + y) * p.w * step;
      if (y < 0 || y >= p.h) {
        *to = scratch.zeros;
      } else if (whole) {
        *to = line + x0 * step;
      } else {
        float* copy = scratch.copies + (r * count + t) * width;
        copy_run(p, line, x0, columns, copy);
        *to = copy;
      }
    }
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range pixels = share(p.pixels(), worker);
  if (pixels.begin >= pixels.end) return;
  float* base = ptrs.workspace + worker.id * worker_floats(p);
  float* zeros = base + runs(p) * kMaxRows * kPointerFloats;
  for (int64_t i = 0; i < run_floats(p); ++i) zeros[i] = 0;
  const Scratch scratch{reinterpret_cast<const float**>(base), zeros, zeros + run_floats(p)};

  const int64_t ks = p.group_k(), total = pixels.end - pixels.begin;
  const int64_t tiles = (total + kMaxRows - 1) / kMaxRows;
  Tile tile{};
  tile.rows = scratch.rows, tile.taps = runs(p), tile.depth = run_floats(p), tile.panel = reduction(p) * kLanes;
  tile.ldr = p.ldr, tile.ldy = p.ldy, tile.n = ks;
  tile.lo = clamp_lo(p.act), tile.hi = clamp_hi(p.act);
  for (int64_t t = 0; t < tiles; ++t) {
    const Range r{pixels.begin + total * t / tiles, pixels.begin + total * (t + 1) / tiles};
    const int mr = static_cast<int>(r.end - r.begin);
    for (int64_t g = 0; g < p.groups; ++g) {
      point(p, ptrs.x, r.begin, mr, g * p.group_c(), scratch);
      tile.bias = ptrs.bias ? ptrs.bias + g * ks : nullptr;
      tile.w = ptrs.w + g * group_panels(p) * tile.panel;
      tile.y = ptrs.y + r.begin * p.ldy + g * ks;
      tile.residual = ptrs.residual ? ptrs.residual + r.begin * p.ldr + g * ks : nullptr;
      run_panels(tile, mr, 0, group_panels(p), p.act, static_cast<float>(p.act_param));
    }
  }
}

void pack(const Conv2dParams& p, const float* w, float* packed) { pack_panels(p, w, packed, p.x_nchw != 0); }

const char* why_not(const Conv2dParams&, const Machine& m) { return why_not_isa(kIsa, m); }

}  // namespace

extern const Conv2dKernel conv2d_patch{
    "conv2d_patch_f32_" PYCNN_ISA_SUFFIX, why_not, panel_floats, pack, workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
