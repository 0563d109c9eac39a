// Implicit GEMM: pixels x (taps * channels) times (taps * channels) x outputs, the input read in place through one
// pointer a pixel and tap. A block of pixels small enough for half the L2 is walked panel by panel, so that a panel of
// weights stays close while the pixels pass, and the pixels stay in L2 while the panels pass.
#include "base/simd/gemm.h"
#include "ops/conv2d/cost.h"
#include "ops/conv2d/pack.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kMinChannels = 8;        // below, the patch kernel's longer runs win
constexpr int64_t kWeightShare = 3;        // of L2: weights kept there while pixels stream
constexpr int64_t kTableBytes = 64 << 10;  // pointer table of a block, a worker
constexpr int64_t kPointerBytes = sizeof(const float*), kPointerFloats = kPointerBytes / 4;

// Pixels in a block: whole tiles, for half of L2 and a pointer table of kTableBytes.
int64_t block_pixels(const Conv2dParams& p) {
  const int64_t taps = p.kh * p.kw, pixel_bytes = 4 * p.c * p.sh * p.sw;
  int64_t block = machine().l2_bytes / 2 / pixel_bytes;
  const int64_t table = kTableBytes / (taps * kPointerBytes);
  if (block > table) block = table;
  if (block < 2 * kMaxRows) block = 2 * kMaxRows;
  return block / kMaxRows * kMaxRows;
}

int64_t zero_floats(const Conv2dParams& p) { return (p.group_c() + 15) / 16 * 16; }

int64_t worker_floats(const Conv2dParams& p) {
  const int64_t table = block_pixels(p) * p.kh * p.kw * kPointerFloats;
  return (zero_floats(p) + table + 15) / 16 * 16;
}

int64_t workspace(const Conv2dParams& p, int workers) { return workers * worker_floats(p); }

// Pointers of mr pixels from `pixel` on, for group channel c0: rows[tap * mr + r].
void point(const Conv2dParams& p, const float* x, const float* zero, int64_t c0, int64_t pixel, int mr,
           const float** rows) {
  int64_t ox = pixel % p.ow, oy = pixel / p.ow % p.oh, n = pixel / (p.ow * p.oh);
  for (int r = 0; r < mr; ++r) {
    const int64_t y0 = oy * p.sh - p.ph, x0 = ox * p.sw - p.pw;
    const float** out = rows + r;
    for (int64_t i = 0; i < p.kh; ++i) {
      const int64_t y = y0 + i * p.dh;
      const bool inside = y >= 0 && y < p.h;
      const float* line = x + (n * p.h + y) * p.w * p.ldx + c0;
      for (int64_t j = 0; j < p.kw; ++j, out += mr) {
        const int64_t xx = x0 + j * p.dw;
        *out = inside && xx >= 0 && xx < p.w ? line + xx * p.ldx : zero;
      }
    }
    if (++ox == p.ow) {
      ox = 0;
      if (++oy == p.oh) oy = 0, ++n;
    }
  }
}

struct Share {
  Range pixels;
  Range panels;  // of each group
};

// Work is split over pixels, or over panels where the weights are the larger operand and more than a worker's L2 keeps:
// then no worker reads them all. Where L2 keeps them the split of rows costs more, as each worker's prefetches take lines
// of the other's half (14^2 x 96 -> 576: 178 us against 97).
Share split(const Conv2dParams& p, Worker worker) {
  const int64_t tiles = (p.pixels() + kMaxRows - 1) / kMaxRows, panels = group_panels(p);
  const int64_t weights = p.k * reduction(p);
  const bool heavy_weights = weights > p.n * p.h * p.w * p.c && 4 * weights > machine().l2_bytes / 4 * 3;
  if ((heavy_weights && panels >= 4 * worker.count) || tiles < worker.count) {
    const Range pairs = share((panels + 1) / 2, worker);
    const int64_t end = pairs.end * 2 < panels ? pairs.end * 2 : panels;
    return {{0, p.pixels()}, {pairs.begin * 2, end}};
  }
  return {share(p.pixels(), worker), {0, panels}};
}

// Panels passed over one tile of pixels before the next tile. All of them while they fit L2 beside the pixels: outputs
// are then written row by row; else as many as the registers hold.
int64_t panels_at_once(const Conv2dParams& p, int rows, Range panels) {
  const int64_t all = panels.end - panels.begin, bytes = all * reduction(p) * kLanes * 4;
  return bytes <= machine().l2_bytes / kWeightShare ? all : tile_width(rows, all);
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Share mine = split(p, worker);
  if (mine.pixels.begin >= mine.pixels.end || mine.panels.begin >= mine.panels.end) return;
  const int64_t taps = p.kh * p.kw, cs = p.group_c(), ks = p.group_k(), block = block_pixels(p);
  float* zero = ptrs.workspace + worker.id * worker_floats(p);
  auto** table = reinterpret_cast<const float**>(zero + zero_floats(p));
  for (int64_t c = 0; c < cs; ++c) zero[c] = 0;

  Tile tile{};
  tile.taps = taps, tile.depth = cs, tile.panel = reduction(p) * kLanes;
  tile.ldr = p.ldr, tile.ldy = p.ldy, tile.n = ks;
  tile.lo = clamp_lo(p.act), tile.hi = clamp_hi(p.act);
  for (int64_t g = 0; g < p.groups; ++g) {
    tile.bias = ptrs.bias ? ptrs.bias + g * ks : nullptr;
    tile.w = ptrs.w + g * group_panels(p) * tile.panel;
    for (int64_t first = mine.pixels.begin; first < mine.pixels.end; first += block) {
      const int64_t size = mine.pixels.end - first < block ? mine.pixels.end - first : block;
      const int tiles = static_cast<int>((size + kMaxRows - 1) / kMaxRows);
      // Tiles of equal height: 49 pixels are 13 + 12 + 12 + 12 rather than 14 + 14 + 14 + 7.
      const auto rows_of = [&](int t) { return share(size, {t, tiles}); };
      for (int t = 0; t < tiles; ++t) {
        const Range r = rows_of(t);
        point(p, ptrs.x, zero, g * cs, first + r.begin, static_cast<int>(r.end - r.begin), table + r.begin * taps);
      }
      const int64_t width = panels_at_once(p, static_cast<int>((size + tiles - 1) / tiles), mine.panels);
      for (int64_t q = mine.panels.begin; q < mine.panels.end; q += width) {
        const int64_t q_end = q + width < mine.panels.end ? q + width : mine.panels.end;
        for (int t = 0; t < tiles; ++t) {
          const Range r = rows_of(t);
          const int64_t pixel = first + r.begin;
          tile.rows = table + r.begin * taps;
          tile.y = ptrs.y + pixel * p.ldy + g * ks;
          tile.residual = ptrs.residual ? ptrs.residual + pixel * p.ldr + g * ks : nullptr;
          run_panels(tile, static_cast<int>(r.end - r.begin), q, q_end, p.act, static_cast<float>(p.act_param));
        }
      }
    }
  }
}

void pack(const Conv2dParams& p, const float* w, float* packed) { pack_panels(p, w, packed, false); }

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_isa(kIsa, m)) return reason;
  if (p.x_nchw) return "needs an NHWC input";
  if (p.group_c() < kMinChannels) return "needs at least 8 input channels a group";
  return nullptr;
}

double cost(const Conv2dParams& p, int workers) {
  const double tiles = static_cast<double>(p.pixels()) * static_cast<double>(p.groups * group_panels(p));
  return predicted(tiles * static_cast<double>(reduction(p)) / workers, static_cast<double>(panel_floats(p)));
}

}  // namespace

extern const Conv2dKernel conv2d_igemm{
    "conv2d_igemm_f32_" PYCNN_ISA_SUFFIX, why_not, panel_floats, pack, workspace, run, cost};

}  // namespace pycnn::PYCNN_ISA_NS
