// Outputs oy = r*sh + u, ox = q*sw + v of one phase (u, v) see the same taps of the kernel, those with
// i*dh = u + ph (mod sh), j*dw = v + pw (mod sw): each phase is a correlation of stride 1 over the input, run as an
// implicit GEMM with the phase's own panels of weights. Where kernel and stride are equal a phase has one tap.
// A block of pixels small enough for half of L2 stays there while the phases and their panels pass.
#include "base/simd/gemm.h"
#include "ops/conv_transpose2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

using Params = ConvTranspose2dParams;

constexpr int64_t kTableBytes = 64 << 10;  // pointer table of a block, a worker
constexpr int64_t kPointerBytes = sizeof(const Element*), kPointerFloats = kPointerBytes / 4;

bool in_phase(int64_t tap, int64_t dilation, int64_t place, int64_t padding, int64_t stride) {
  return (place + padding - tap * dilation) % stride == 0;
}
bool row_in_phase(const Params& p, int64_t i, int64_t u) { return in_phase(i, p.dh, u, p.ph, p.sh); }
bool column_in_phase(const Params& p, int64_t j, int64_t v) { return in_phase(j, p.dw, v, p.pw, p.sw); }

int64_t phase_taps(const Params& p, int64_t u, int64_t v) {
  int64_t rows = 0, columns = 0;
  for (int64_t i = 0; i < p.kh; ++i) rows += row_in_phase(p, i, u);
  for (int64_t j = 0; j < p.kw; ++j) columns += column_in_phase(p, j, v);
  return rows * columns;
}

int64_t most_taps(const Params& p) {
  int64_t most = 1;
  for (int64_t u = 0; u < p.sh; ++u)
    for (int64_t v = 0; v < p.sw; ++v) {
      const int64_t taps = phase_taps(p, u, v);
      if (taps > most) most = taps;
    }
  return most;
}

int64_t group_panels(const Params& p) { return panels_of(p.group_k()); }
int64_t packed_size(const Params& p) {
  return floats_of(p.groups * group_panels(p) * panel_size(p.kh * p.kw, p.group_c()));
}

// [phase u, v][group][panel], each panel with the taps i, j of the phase.
void pack(const Params& p, const float* w, float* packed) {
  const int64_t cs = p.group_c(), ks = p.group_k(), taps = p.kh * p.kw;
  auto* to = reinterpret_cast<Element*>(packed);
  for (int64_t phase = 0; phase < p.sh * p.sw; ++phase)
    for (int64_t g = 0; g < p.groups; ++g)
      for (int64_t k0 = 0; k0 < ks; k0 += kLanes)
        for (int64_t tap = 0; tap < taps; ++tap) {
          if (!row_in_phase(p, tap / p.kw, phase / p.sw) || !column_in_phase(p, tap % p.kw, phase % p.sw)) continue;
          const auto weight = [&](int64_t, int64_t c, int64_t lane) __attribute__((always_inline)) {
            return w[((g * cs + c) * ks + k0 + lane) * taps + tap];
          };
          pack_panel(1, cs, ks - k0, weight, to);
        }
}

// Outputs are walked in tiles of one line: tile t is image n, line r of every u, columns q of every v.
struct Grid {
  int64_t lines, columns, tiles;  // r < lines, q < columns, tiles of a line
};

Grid grid(const Params& p) {
  const int64_t columns = (p.ow + p.sw - 1) / p.sw;
  return {(p.oh + p.sh - 1) / p.sh, columns, (columns + kMaxRows - 1) / kMaxRows};
}

int64_t block_tiles(const Params& p, int64_t taps) {
  const Grid all = grid(p);
  const int64_t pixels = (all.columns + all.tiles - 1) / all.tiles;  // of a tile
  int64_t block = machine().l2_bytes / 2 / (static_cast<int64_t>(sizeof(Element)) * p.c * pixels);
  const int64_t table = kTableBytes / (taps * kMaxRows * kPointerBytes);
  if (block > table) block = table;
  return block < 2 ? 2 : block;
}

int64_t zero_floats(const Params& p) { return (p.group_c() + 15) / 16 * 16; }

int64_t worker_floats(const Params& p) {
  const int64_t taps = most_taps(p);
  return (zero_floats(p) + block_tiles(p, taps) * kMaxRows * taps * kPointerFloats + 15) / 16 * 16;
}

int64_t workspace(const Params& p, int workers) { return workers * worker_floats(p); }

struct Pixels {
  int64_t n, oy, ox;  // the first; the others follow sw apart
  int rows;
};

Pixels pixels_of(const Params& p, const Grid& all, int64_t tile, int64_t u, int64_t v) {
  const int64_t line = tile / all.tiles, s = tile % all.tiles;
  const int64_t begin = all.columns * s / all.tiles, end = all.columns * (s + 1) / all.tiles;
  const int64_t oy = line % all.lines * p.sh + u;
  int64_t rows = end - begin;
  if ((end - 1) * p.sw + v >= p.ow) --rows;
  if (oy >= p.oh) rows = 0;
  return {line / all.lines, oy, begin * p.sw + v, static_cast<int>(rows)};
}

// rows[tap * mr + r] for group channel c0; exact divisions, as only taps of the phase are asked for.
void point(const Params& p, const Element* x, const Element* zero, int64_t c0, const Pixels& at, const Element** rows) {
  for (int64_t i = 0; i < p.kh; ++i) {
    const int64_t up = at.oy + p.ph - i * p.dh;
    if (up % p.sh != 0) continue;
    const int64_t y = up / p.sh;
    const bool inside = y >= 0 && y < p.h;
    const Element* line = inside ? x + (at.n * p.h + y) * p.w * p.ldx + c0 : zero;
    for (int64_t j = 0; j < p.kw; ++j) {
      const int64_t left = at.ox + p.pw - j * p.dw;
      if (left % p.sw != 0) continue;
      const int64_t x0 = left / p.sw;
      for (int r = 0; r < at.rows; ++r)
        *rows++ = inside && x0 + r >= 0 && x0 + r < p.w ? line + (x0 + r) * p.ldx : zero;
    }
  }
}

struct Job {
  const Params& p;
  const Ptrs& ptrs;
  Grid all;
  Range tiles, panels;  // of this worker
  const Element* zero;
  const Element** table;
};

// Tiles [first, last) of one phase and group, panel by panel.
void run_phase(const Job& job, Tile tile, int64_t first, int64_t last, int64_t g, int64_t phase) {
  const Params& p = job.p;
  const int64_t u = phase / p.sw, v = phase % p.sw, step = tile.taps * kMaxRows, ks = p.group_k();
  for (int64_t t = first; t < last; ++t)
    point(p, job.ptrs.x, job.zero, g * p.group_c(), pixels_of(p, job.all, t, u, v), job.table + (t - first) * step);
  // As many panels at once as the registers hold: they stay in L1 while the tiles pass.
  const int64_t width = 2;
  for (int64_t q = job.panels.begin; q < job.panels.end; q += width) {
    const int64_t q_end = q + width < job.panels.end ? q + width : job.panels.end;
    for (int64_t t = first; t < last; ++t) {
      const Pixels at = pixels_of(p, job.all, t, u, v);
      if (at.rows <= 0) continue;
      tile.rows = job.table + (t - first) * step;
      tile.turn = static_cast<int>(t - first), tile.turns = static_cast<int>(last - first);
      tile.y = job.ptrs.y + ((at.n * p.oh + at.oy) * p.ow + at.ox) * p.ldy + g * ks;
      run_panels(tile, at.rows, q, q_end, p.act, static_cast<float>(p.act_param));
    }
  }
}

void run(const Params& p, const Ptrs& ptrs, Worker worker) {
  const Grid all = grid(p);
  const int64_t tiles = p.n * all.lines * all.tiles, panels = group_panels(p), cs = p.group_c();
  Job job{p, ptrs, all, share(tiles, worker), {0, panels}, nullptr, nullptr};
  // Split over panels where the weights are the larger operand, so that no worker reads them all.
  const bool heavy_weights = p.kh * p.kw * p.group_k() > p.n * p.h * p.w;
  if ((heavy_weights && panels >= 4 * worker.count) || tiles < worker.count)
    job.tiles = {0, tiles}, job.panels = share(panels, worker);
  if (job.tiles.begin >= job.tiles.end || job.panels.begin >= job.panels.end) return;
  float* own = ptrs.workspace + worker.id * worker_floats(p);
  auto* zero = reinterpret_cast<Element*>(own);
  for (int64_t c = 0; c < cs; ++c) zero[c] = Element{};
  job.zero = zero, job.table = reinterpret_cast<const Element**>(own + zero_floats(p));

  const int64_t block = block_tiles(p, most_taps(p));
  for (int64_t first = job.tiles.begin; first < job.tiles.end; first += block) {
    const int64_t last = first + block < job.tiles.end ? first + block : job.tiles.end;
    const Element* w = packed_panels(ptrs.w);
    for (int64_t phase = 0; phase < p.sh * p.sw; ++phase) {
      Tile tile{};
      tile.taps = phase_taps(p, phase / p.sw, phase % p.sw), tile.depth = cs, tile.panel = panel_size(tile.taps, cs);
      tile.ldy = p.sw * p.ldy, tile.n = p.group_k();
      tile.lo = clamp_lo(p.act), tile.hi = clamp_hi(p.act);
      for (int64_t g = 0; g < p.groups; ++g, w += panels * tile.panel) {
        tile.w = w, tile.bias = ptrs.bias ? ptrs.bias + g * p.group_k() : nullptr;
        run_phase(job, tile, first, last, g, phase);
      }
    }
  }
}

const char* why_not(const Params&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<ConvTranspose2dParams> conv_transpose2d_phases{
    "conv_transpose2d_phases_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
