// Implicit GEMM: pixels x (taps * channels) times (taps * channels) x outputs, the input read in place through one
// pointer a pixel and tap. A block of pixels small enough for half the L2 is walked panel by panel, so that a panel of
// weights stays close while the pixels pass, and the pixels stay in L2 while the panels pass.
#include "base/simd/gemm.h"
#include "ops/conv2d/cost.h"
#include "ops/conv2d/pack.h"
#include "ops/conv2d/prologue.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kMinChannels = 8;        // below, the patch kernel's longer runs win
constexpr int64_t kWeightShare = 3;        // of L2: weights kept there while pixels stream
constexpr int64_t kTableBytes = 64 << 10;  // pointer table of a block, a worker
// With no more than this part of the taps inside the map, tiles cut where their taps change win, on average this high.
constexpr double kWorthSkipping = 0.85;
constexpr int64_t kLowestTile = 3;
constexpr int64_t kPointerBytes = sizeof(const Element*), kPointerFloats = kPointerBytes / 4;
constexpr int64_t kElementBytes = sizeof(Element);

// Pixels in a block: whole tiles, for half of L2, with what a prologue makes of them, and a pointer table of kTableBytes.
int64_t block_pixels(const Conv2dParams& p) {
  const int64_t made = p.prologue == Prologue::kNone ? 0 : made_ld(p);
  const int64_t taps = p.kh * p.kw, pixel_bytes = kElementBytes * (p.c * p.sh * p.sw + made);
  int64_t block = machine().l2_bytes / 2 / pixel_bytes;
  const int64_t table = kTableBytes / (taps * kPointerBytes);
  if (block > table) block = table;
  if (block < 2 * kMaxRows) block = 2 * kMaxRows;
  return block / kMaxRows * kMaxRows;
}

// Elements of a panel: of all its taps.
int64_t panel(const Conv2dParams& p) { return panel_size(p.kh * p.kw, p.group_c()); }

int64_t zero_floats(const Conv2dParams& p) { return (p.c + 15) / 16 * 16; }

// A tile: `rows` pixels from `pixel` on, and the taps that lie inside the map for any of them, tap t as bit t.
struct Cut {
  int64_t pixel, rows;
  const Element** table;  // [taps][rows]
  uint64_t taps;
};

// Outputs [begin, end) of one axis at which a tap lies inside the map.
struct Live {
  int64_t begin, end;
  int64_t count() const { return end > begin ? end - begin : 0; }
};

Live live(int64_t tap, int64_t size, int64_t out, int64_t stride, int64_t pad, int64_t dilation) {
  const int64_t at = tap * dilation - pad;  // of output 0
  const int64_t begin = at < 0 ? (stride - 1 - at) / stride : 0, end = at < size ? (size - 1 - at) / stride + 1 : 0;
  return {begin < out ? begin : out, end < out ? end : out};
}

// Part of the taps, over all outputs, that lies inside the map.
double live_part(const Conv2dParams& p) {
  int64_t rows = 0, columns = 0;
  for (int64_t i = 0; i < p.kh; ++i) rows += live(i, p.h, p.oh, p.sh, p.ph, p.dh).count();
  for (int64_t j = 0; j < p.kw; ++j) columns += live(j, p.w, p.ow, p.sw, p.pw, p.dw).count();
  return static_cast<double>(rows * columns) / static_cast<double>(p.oh * p.kh * p.ow * p.kw);
}

// Whether tiles are cut where their taps change and leave out those outside the map: dilated windows in small maps. Not
// where they would be too low: 3 x 3 on 7 x 7 has 82 % of its taps inside, and tiles of 1, 5 and 1 pixels.
bool skips_taps(const Conv2dParams& p) {
  const int64_t runs = 2 * p.kw - 1;
  return p.kh * p.kw <= 64 && kLowestTile * runs <= p.ow && live_part(p) < kWorthSkipping;
}

int64_t most_cuts(const Conv2dParams& p) {
  const int64_t block = block_pixels(p);
  return skips_taps(p) ? block : block / kMaxRows + 1;
}

// A block of what the prologue makes.
int64_t made_floats(const Conv2dParams& p) {
  return p.prologue == Prologue::kNone ? 0 : (floats_of(block_pixels(p) * made_ld(p)) + 15) / 16 * 16;
}

int64_t worker_floats(const Conv2dParams& p) {
  const int64_t table = block_pixels(p) * p.kh * p.kw * kPointerFloats;
  const int64_t cuts = most_cuts(p) * static_cast<int64_t>(sizeof(Cut)) / 4;
  return (zero_floats(p) + table + cuts + 15) / 16 * 16 + made_floats(p);
}

int64_t workspace(const Conv2dParams& p, int workers) { return workers * worker_floats(p); }

// Pointers of mr pixels from `pixel` on: rows[tap * mr + r]. The pixels of one row of outputs at
// once: at each tap those outside the map, those inside, a stride apart, those outside.
void point(const Conv2dParams& p, const Element* x, const Element* zero, int64_t pixel, int mr, const Element** rows) {
  int64_t ox = pixel % p.ow, oy = pixel / p.ow % p.oh, n = pixel / (p.ow * p.oh);
  for (int64_t done = 0; done < mr;) {
    const int64_t count = p.ow - ox < mr - done ? p.ow - ox : mr - done;
    const Element** out = rows + done;
    for (int64_t i = 0; i < p.kh; ++i) {
      const int64_t y = oy * p.sh - p.ph + i * p.dh;
      const bool inside = y >= 0 && y < p.h;
      const Element* line = x + (n * p.h + y) * p.w * p.ldx;
      for (int64_t j = 0; j < p.kw; ++j, out += mr) {
        const int64_t x0 = ox * p.sw - p.pw + j * p.dw;
        const Element* first = line + x0 * p.ldx;
        int64_t r = 0, end = inside ? count : 0;
        for (; r < end && x0 + r * p.sw < 0; ++r) out[r] = zero;
        while (end > r && x0 + (end - 1) * p.sw >= p.w) --end;
        for (; r < end; ++r) out[r] = first + r * p.sw * p.ldx;
        for (; r < count; ++r) out[r] = zero;
      }
    }
    done += count, ox = 0;
    if (++oy == p.oh) oy = 0, ++n;
  }
}

// Tiles of equal height for `size` pixels from `first` on: 49 pixels are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7.
int64_t cut_evenly(const Conv2dParams& p, const Element* x, const Element* zero, int64_t first, int64_t size,
                   const Element** table, Cut* cuts) {
  const int tiles = static_cast<int>((size + kMaxRows - 1) / kMaxRows);
  for (int t = 0; t < tiles; ++t) {
    const Range r = share(size, {t, tiles});
    cuts[t] = {first + r.begin, r.end - r.begin, table + r.begin * p.kh * p.kw, 0};
    point(p, x, zero, first + r.begin, static_cast<int>(r.end - r.begin), cuts[t].table);
  }
  return tiles;
}

// Tiles in which every pixel has the same taps inside the map, and pointers to those alone.
int64_t cut_by_taps(const Conv2dParams& p, const Element* x, int64_t first, int64_t size, const Element** table,
                    Cut* cuts) {
  int64_t count = 0;
  for (int64_t pixel = first; pixel < first + size;) {
    const int64_t ox = pixel % p.ow, oy = pixel / p.ow % p.oh, n = pixel / (p.ow * p.oh);
    int64_t end = ox + kMaxRows < p.ow ? ox + kMaxRows : p.ow;
    if (end > ox + first + size - pixel) end = ox + first + size - pixel;
    uint64_t columns = 0;
    for (int64_t j = 0; j < p.kw; ++j) {
      const Live in = live(j, p.w, p.ow, p.sw, p.pw, p.dw);
      if (ox >= in.begin && ox < in.end) columns |= uint64_t{1} << j;
      if (ox < in.begin && in.begin < end) end = in.begin;
      if (ox < in.end && in.end < end) end = in.end;
    }
    Cut& cut = cuts[count++];
    cut = {pixel, end - ox, table, 0};
    for (int64_t i = 0; i < p.kh; ++i) {
      const int64_t y = oy * p.sh - p.ph + i * p.dh;
      if (y < 0 || y >= p.h) continue;
      const Element* line = x + (n * p.h + y) * p.w * p.ldx;
      for (int64_t j = 0; j < p.kw; ++j) {
        if ((columns >> j & 1) == 0) continue;
        cut.taps |= uint64_t{1} << (i * p.kw + j);
        for (int64_t xx = ox; xx < end; ++xx) *table++ = line + (xx * p.sw - p.pw + j * p.dw) * p.ldx;
      }
    }
    pixel += end - ox;
  }
  return count;
}

struct Share {
  Range pixels;
  Range panels;  // of each group
};

// The set bits in order; returns how many.
int64_t list_bits(uint64_t bits, int* out) {
  int64_t count = 0;
  for (int bit = 0; bits != 0; ++bit, bits >>= 1)
    if (bits & 1) out[count++] = bit;
  return count;
}

// Work is split over pixels, or over panels where the weights are the larger operand and more than a worker's L2 keeps:
// then no worker reads them all. Where L2 keeps them the split of rows costs more, as each worker's prefetches take lines
// of the other's half (14^2 x 96 -> 576: 178 us against 97).
Share split(const Conv2dParams& p, Worker worker) {
  const int64_t tiles = (p.pixels() + kMaxRows - 1) / kMaxRows, panels = group_panels(p);
  const int64_t weights = p.k * reduction(p);
  const bool heavy_weights = weights > p.n * p.h * p.w * p.c && kElementBytes * weights > machine().l2_bytes / 4 * 3;
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
  const int64_t all = panels.end - panels.begin, bytes = all * panel(p) * kElementBytes;
  return bytes <= machine().l2_bytes / kWeightShare ? all : tile_width(rows, all);
}

// A 1 x 1 window that reads pixel i for output i knows no rows: one line, whose pointers are made at once.
Conv2dParams in_one_line(Conv2dParams p) {
  if (p.kh * p.kw * p.sh * p.sw == 1 && p.oh == p.h && p.ow == p.w && p.ph == 0 && p.pw == 0) {
    p.ow = p.w = p.pixels();
    p.n = p.h = p.oh = 1;
  }
  return p;
}

void make_block(const Made& made, const Cut* cuts, int64_t tiles, int64_t first) {
  for (int64_t t = 0; t < tiles; ++t) made.make(cuts[t].table, cuts[t].pixel, cuts[t].rows, cuts[t].pixel - first);
}

void run(const Conv2dParams& given, const Ptrs& ptrs, Worker worker) {
  const Conv2dParams p = in_one_line(given);
  const Share mine = split(p, worker);
  if (mine.pixels.begin >= mine.pixels.end || mine.panels.begin >= mine.panels.end) return;
  const bool skips = skips_taps(p);
  const int64_t taps = p.kh * p.kw, cs = p.group_c(), ks = p.group_k(), block = block_pixels(p);
  float* const own = ptrs.workspace + worker.id * worker_floats(p);
  auto* zero = reinterpret_cast<Element*>(own + made_floats(p));
  auto** table = reinterpret_cast<const Element**>(own + made_floats(p) + zero_floats(p));
  const Made made{given, ptrs, reinterpret_cast<Element*>(own)};
  auto* cuts = reinterpret_cast<Cut*>(table + block * taps);
  for (int64_t c = 0; c < p.c; ++c) zero[c] = Element{};

  Tile tile{};
  int of_tap[64];
  tile.taps = taps, tile.depth = cs, tile.panel = panel(p), tile.live = skips ? of_tap : nullptr;
  tile.ldr = p.ldr, tile.ldy = p.ldy, tile.n = ks;
  tile.lo = clamp_lo(p.act), tile.hi = clamp_hi(p.act);
  for (int64_t first = mine.pixels.begin; first < mine.pixels.end; first += block) {
    const int64_t size = mine.pixels.end - first < block ? mine.pixels.end - first : block;
    const int64_t tiles = skips ? cut_by_taps(p, ptrs.x, first, size, table, cuts)
                                : cut_evenly(p, ptrs.x, zero, first, size, table, cuts);
    const int64_t width = panels_at_once(p, static_cast<int>((size + tiles - 1) / tiles), mine.panels);
    // Where all panels pass over a tile before the next, it is made just then, in L1; else the block, in L2.
    const bool at_once = width >= mine.panels.end - mine.panels.begin;
    if (made.wanted() && !at_once) make_block(made, cuts, tiles, first);
    for (int64_t g = 0; g < p.groups; ++g) {
      tile.first = g * cs;
      tile.bias = ptrs.bias ? ptrs.bias + g * ks : nullptr;
      tile.w = packed_panels(ptrs.w + norms_floats(p)) + g * group_panels(p) * tile.panel;
      for (int64_t q = mine.panels.begin; q < mine.panels.end; q += width) {
        const int64_t q_end = q + width < mine.panels.end ? q + width : mine.panels.end;
        for (int64_t t = 0; t < tiles; ++t) {
          const Cut& cut = cuts[t];
          if (made.wanted() && at_once) made.make(cut.table, cut.pixel, cut.rows, 0);
          if (skips) tile.taps = list_bits(cut.taps, of_tap);
          tile.rows = cut.table;
          // At once: behind the first tile the weights are in L2.
          tile.turn = static_cast<int>(t), tile.turns = at_once ? 1 : static_cast<int>(tiles);
          tile.y = ptrs.y + cut.pixel * p.ldy + g * ks;
          tile.residual = ptrs.residual ? ptrs.residual + cut.pixel * p.ldr + g * ks : nullptr;
          run_panels(tile, static_cast<int>(cut.rows), q, q_end, p.act, static_cast<float>(p.act_param));
        }
      }
    }
  }
}

int64_t packed_size(const Conv2dParams& p) { return norms_floats(p) + panel_floats(p, p.group_c()); }

void pack(const Conv2dParams& p, const float* w, float* packed) {
  if (p.prologue == Prologue::kNorm) pack_norms(p, w + p.k * reduction(p), packed);
  pack_panels(p, w, packed + norms_floats(p), p.group_c(), false);
}

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (p.x_nchw) return "needs an NHWC input";
  if (p.group_c() < kMinChannels) return "needs at least 8 input channels a group";
  if (p.prologue == Prologue::kNone) return nullptr;
  if (!sees_pixels(p)) return "has a prologue for 1 x 1 windows alone";
  return is_clamp(p.prologue_act) ? nullptr : "has relu, relu6 or none in its prologue";
}

double cost(const Conv2dParams& p, int workers) {
  const double tiles = static_cast<double>(p.pixels()) * static_cast<double>(p.groups * group_panels(p));
  const double part = skips_taps(p) ? live_part(p) : 1;
  const double multiplies = part * tiles * static_cast<double>(reduction(p)) / Products<Element>::kRate;
  return predicted(multiplies / workers, static_cast<double>(packed_size(p)));
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_igemm{
    "conv2d_igemm_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, workspace, run, cost};

}  // namespace pycnn::PYCNN_ISA_NS
