// GEMM over patches, for few input channels (stems), where a pixel alone is too short a run, and for contiguous NCHW
// inputs. A patch is read run by run, a run being one row of the kernel: kw * c floats of NHWC, kw of a channel of NCHW.
// Runs inside the map are read in place; those that cross its border, or are not contiguous, are copied first.
#include "base/simd/gemm.h"
#include "ops/conv2d/pack.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

int64_t runs(const Conv2dParams& p) { return p.x_nchw ? p.group_c() * p.kh : p.kh; }
int64_t run_length(const Conv2dParams& p) { return p.x_nchw ? p.kw : p.kw * p.group_c(); }
bool contiguous(const Conv2dParams& p) { return p.dw == 1 && (p.x_nchw || p.ldx == p.group_c()); }

constexpr int64_t kPointerFloats = sizeof(const Element*) / sizeof(float);

// A worker's share: pointers [runs][kMaxRows], a run of zeros, copied patches [kMaxRows][reduction].
int64_t worker_floats(const Conv2dParams& p) {
  const int64_t pointers = runs(p) * kMaxRows * kPointerFloats;
  return (pointers + floats_of(run_length(p) + kMaxRows * reduction(p)) + 15) / 16 * 16;
}

int64_t workspace(const Conv2dParams& p, int workers) { return workers * worker_floats(p); }

// Columns j of the kernel that fall inside [0, w) for a patch that starts at x0.
Range inside(int64_t x0, int64_t taps, int64_t dilation, int64_t size) {
  const int64_t begin = x0 >= 0 ? 0 : (-x0 + dilation - 1) / dilation;
  const int64_t end = x0 >= size ? 0 : (size - 1 - x0) / dilation + 1;
  return {begin < taps ? begin : taps, end < taps ? end : taps};
}

// Copies a run whose columns [columns) lie in the map; `line` is where column 0 of the map begins.
void copy_run(const Conv2dParams& p, const Element* line, int64_t x0, Range columns, Element* to) {
  const int64_t step = p.x_nchw ? 1 : p.ldx, width = p.x_nchw ? 1 : p.group_c();
  for (int64_t j = 0; j < p.kw; ++j, to += width)
    for (int64_t c = 0; c < width; ++c)
      to[c] = j >= columns.begin && j < columns.end ? line[(x0 + j * p.dw) * step + c] : Element{};
}

struct Scratch {
  const Element** rows;  // [runs][mr]
  const Element* zeros;
  Element* copies;  // [mr][reduction]
};

// An image, from the group's first channel on, and its strides in elements.
struct Image {
  const Element* data;
  int64_t step;   // from one pixel to the next
  int64_t plane;  // from one run of kernel rows to the next: a plane of NCHW
};

// Pointers of `count` pixels whose patches lie inside the map, the first patch at `first`: the pixels are sw steps
// apart, the runs of one a line of the map, and at a channel's end a plane.
void point_inside(const Conv2dParams& p, const Image& image, const Element* first, int count, int mr,
                  const Element** to) {
  const int64_t line = p.dh * p.w * image.step, apart = p.sw * image.step, planes = p.x_nchw ? p.group_c() : 1;
  for (int64_t c = 0; c < planes; ++c, first += image.plane)
    for (int64_t i = 0; i < p.kh; ++i, to += mr) {
      const Element* run = first + i * line;
      for (int r = 0; r < count; ++r) to[r] = run + r * apart;
    }
}

// Pointers of one pixel whose patch starts at (y0, x0) and may leave the map; `copies` takes what is not in it as it is.
void point_at_border(const Conv2dParams& p, const Image& image, int64_t y0, int64_t x0, int mr, const Scratch& scratch,
                     const Element** to, Element* copies) {
  const int64_t count = runs(p), width = run_length(p);
  const bool whole = contiguous(p) && x0 >= 0 && x0 + p.kw <= p.w;
  const Range columns = whole ? Range{0, p.kw} : inside(x0, p.kw, p.dw, p.w);
  for (int64_t t = 0; t < count; ++t, to += mr, copies += width) {
    const int64_t y = y0 + t % p.kh * p.dh;  // run t is kernel row t % kh, of channel t / kh where x is NCHW
    const Element* line = image.data + t / p.kh * image.plane + y * p.w * image.step;
    if (y < 0 || y >= p.h) {
      *to = scratch.zeros;
    } else if (whole) {
      *to = line + x0 * image.step;
    } else {
      copy_run(p, line, x0, columns, copies);
      *to = copies;
    }
  }
}

// Output columns whose patches have all their columns in the map, where runs can be read in place.
Range inner_columns(const Conv2dParams& p) {
  if (!contiguous(p) || p.kw > p.w) return {0, 0};
  const int64_t begin = (p.pw + p.sw - 1) / p.sw, end = (p.w - p.kw + p.pw) / p.sw + 1;
  return {begin, end < p.ow ? end : p.ow};
}

// Fills scratch.rows for mr pixels from `pixel` on, channels from c0 on; pixels of one row inside the map at once.
void point(const Conv2dParams& p, const Element* x, int64_t pixel, int mr, int64_t c0, const Scratch& scratch) {
  const Range inner = inner_columns(p);
  Image image{nullptr, p.x_nchw ? 1 : p.ldx, p.x_nchw ? p.h * p.w : 0};
  int64_t ox = pixel % p.ow, oy = pixel / p.ow % p.oh, n = pixel / (p.ow * p.oh);
  for (int r = 0; r < mr;) {
    image.data = p.x_nchw ? x + (n * p.c + c0) * p.h * p.w : x + n * p.h * p.w * p.ldx + c0;
    const int64_t y0 = oy * p.sh - p.ph;
    const bool rows_inside = y0 >= 0 && y0 + (p.kh - 1) * p.dh < p.h;
    const int end = static_cast<int>(p.ow - ox < mr - r ? r + p.ow - ox : mr);
    while (r < end) {
      const int64_t x0 = ox * p.sw - p.pw;
      const int64_t left = inner.end - ox < end - r ? inner.end - ox : end - r;
      if (rows_inside && ox >= inner.begin && left > 0) {
        const Element* first = image.data + (y0 * p.w + x0) * image.step;
        point_inside(p, image, first, static_cast<int>(left), mr, scratch.rows + r);
        r += static_cast<int>(left), ox += left;
      } else {
        point_at_border(p, image, y0, x0, mr, scratch, scratch.rows + r, scratch.copies + r * reduction(p));
        ++r, ++ox;
      }
    }
    ox = 0;
    if (++oy == p.oh) oy = 0, ++n;
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range pixels = share(p.pixels(), worker);
  if (pixels.begin >= pixels.end) return;
  float* base = ptrs.workspace + worker.id * worker_floats(p);
  auto* zeros = reinterpret_cast<Element*>(base + runs(p) * kMaxRows * kPointerFloats);
  for (int64_t i = 0; i < run_length(p); ++i) zeros[i] = Element{};
  const Scratch scratch{reinterpret_cast<const Element**>(base), zeros, zeros + run_length(p)};

  const int64_t ks = p.group_k(), total = pixels.end - pixels.begin;
  const int64_t tiles = (total + kMaxRows - 1) / kMaxRows;
  Tile tile{};
  tile.rows = scratch.rows, tile.taps = runs(p), tile.depth = run_length(p),
  tile.panel = panel_size(tile.taps, tile.depth);
  tile.ldr = p.ldr, tile.ldy = p.ldy, tile.n = ks;
  tile.lo = clamp_lo(p.act), tile.hi = clamp_hi(p.act);
  for (int64_t t = 0; t < tiles; ++t) {
    const Range r{pixels.begin + total * t / tiles, pixels.begin + total * (t + 1) / tiles};
    const int mr = static_cast<int>(r.end - r.begin);
    for (int64_t g = 0; g < p.groups; ++g) {
      point(p, ptrs.x, r.begin, mr, g * p.group_c(), scratch);
      tile.bias = ptrs.bias ? ptrs.bias + g * ks : nullptr;
      tile.w = packed_panels(ptrs.w) + g * group_panels(p) * tile.panel;
      tile.y = ptrs.y + r.begin * p.ldy + g * ks;
      tile.residual = ptrs.residual ? ptrs.residual + r.begin * p.ldr + g * ks : nullptr;
      run_panels(tile, mr, 0, group_panels(p), p.act, static_cast<float>(p.act_param));
    }
  }
}

int64_t packed_size(const Conv2dParams& p) { return panel_floats(p, run_length(p)); }

void pack(const Conv2dParams& p, const float* w, float* packed) {
  pack_panels(p, w, packed, run_length(p), p.x_nchw != 0);
}

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  return why_not_prologue(p);
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_patch{
    "conv2d_patch_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
