// Winograd convolution F(4x4, 3x3), F(2x2, 3x3) and F(2x2, 5x5), its stages fused: a worker transforms the input of a
// block of tiles, multiplies it by the transformed weights point by point, some outputs at a time, and transforms those
// back with bias, residual and activation, so that neither the transformed input nor the products leave its cache.
// Between its input and output all is fp32: bf16 would round the transformed values, whose errors the transform back
// enlarges. Dilated, the outputs dh rows and dw columns apart are a map of their own without dilation, one of dh x dw
// interleaved.
#include "base/simd/gemm.h"
#include "ops/conv2d/cost.h"
#include "ops/conv2d/pack.h"
#include "ops/conv2d/simd.h"
#include "ops/conv2d/winograd_pool.h"
#include "ops/conv2d/winograd_tile.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kMinChannels = 16;  // a group; below, the transforms cost more than the products
constexpr int64_t kBlockPanels = 4;   // outputs of a block of products: kBlockPanels * kLanes
// Tiles of a block: for L2, but whole register tiles. 28, 42 and 56 are within 5 % of each other from 64 to 512 channels.
constexpr int64_t kMostTiles = 4 * kMaxRows, kLeastTiles = 2 * kMaxRows;

template <int M, int R>
struct Sizes {
  static constexpr int kIn = M + R - 1, kPoints = kIn * kIn;
  int64_t across, down, tiles;      // tiles of an (interleaved) map; of the batch
  int64_t dh, dw;                   // such maps each way
  int64_t channels, panels, block;  // of a group; tiles in a block
  int64_t ldv, ldm;                 // floats between tiles of V [points][block][ldv] and products [points][block][ldm]
  int64_t point_v, point_m;         // floats between points of them

  explicit Sizes(const Conv2dParams& p) {
    dh = p.dh < p.oh ? p.dh : p.oh, dw = p.dw < p.ow ? p.dw : p.ow;
    across = (p.ow + M * p.dw - 1) / (M * p.dw), down = (p.oh + M * p.dh - 1) / (M * p.dh);
    tiles = p.n * dh * down * dw * across;
    channels = p.group_c(), panels = group_panels(p);
    // Rows a whole vector apart from a multiple of 4 KiB, at which a tile's rows fall into one cache set.
    ldv = (channels + kLanes - 1) / kLanes * kLanes + 16;
    ldm = (panels < kBlockPanels ? panels : kBlockPanels) * kLanes + 16;
    block = machine().l2_bytes / (4 * kPoints * (ldv + ldm));
    if (block > kMostTiles) block = kMostTiles;
    if (block < kLeastTiles) block = kLeastTiles;
    if (block > tiles) block = tiles;
    point_v = odd_lines(block * ldv), point_m = odd_lines(block * ldm);
  }
  // An odd number of cache lines: a tile's points then lie in as many cache sets.
  static int64_t odd_lines(int64_t floats) { return floats / 16 % 2 ? floats : floats + 16; }
  int64_t zeros() const { return (channels + 15) / 16 * 16; }
  int64_t row_floats() const { return kMostTiles * static_cast<int64_t>(sizeof(const float*)) / 4; }
  int64_t worker_floats() const { return zeros() + row_floats() + kPoints * (point_v + point_m); }
};

template <int M, int R>
int64_t workspace(const Conv2dParams& p, int workers) {
  return workers * Sizes<M, R>(p).worker_floats();
}

template <int M, int R>
int64_t packed_size(const Conv2dParams& p) {
  return Sizes<M, R>::kPoints * p.groups * group_panels(p) * p.group_c() * kLanes;
}

// Weights [group][block of kBlockPanels panels][point][panel][c][kLanes], in the order in which a worker reads them. Those
// of one group: the panels of a point from panel q on, which lie one behind the other up to the end of its block.
template <int M, int R>
int64_t weights_at(const Sizes<M, R>& s, int64_t q, int point) {
  const int64_t first = q / kBlockPanels * kBlockPanels;
  const int64_t width = s.panels - first < kBlockPanels ? s.panels - first : kBlockPanels;
  return (Sizes<M, R>::kPoints * first + point * width + q - first) * s.channels * kLanes;
}

// Zero past the last output. All lanes of a panel at once: lines are written whole.
template <int M, int R>
void pack(const Conv2dParams& p, const float* w, float* packed) {
  constexpr int kPoints = Sizes<M, R>::kPoints;
  const Sizes<M, R> s(p);
  const int64_t cs = p.group_c(), ks = p.group_k(), panels = group_panels(p);
  for (int64_t g = 0; g < p.groups; ++g, packed += kPoints * panels * cs * kLanes)
    for (int64_t q = 0; q < panels; ++q)
      for (int64_t c = 0; c < cs; ++c) {
        double filters[R * R][kLanes] = {}, u[kPoints][kLanes];
        for (int64_t lane = 0; lane < kLanes && q * kLanes + lane < ks; ++lane)
          for (int tap = 0; tap < R * R; ++tap)
            filters[tap][lane] = w[((g * ks + q * kLanes + lane) * cs + c) * R * R + tap];
        transform_filters<M, R>(filters, u);
        for (int i = 0; i < kPoints; ++i) {
          float* out = packed + weights_at(s, q, i) + c * kLanes;
          for (int lane = 0; lane < kLanes; ++lane) out[lane] = static_cast<float>(u[i][lane]);
        }
      }
}

template <int M, int R>
TileAt tile_at(const Conv2dParams& p, const Sizes<M, R>& s, int64_t tile) {
  const int64_t column = tile % (s.across * s.dw), row = tile / (s.across * s.dw);
  const int64_t line = row % (s.down * s.dh);
  return {row / (s.down * s.dh), line / s.down + line % s.down * M * p.dh,
          column / s.across + column % s.across * M * p.dw};
}

// Products of one point: m[tile][kLanes * panels] = V[tile][c] U[c][...]; u: its first panel.
template <int M, int R>
void multiply(const Sizes<M, R>& s, const float* v, const float* u, const float** rows, int tiles, int64_t panels,
              float* m) {
  TileOf<float> tile{};
  tile.taps = 1, tile.depth = s.channels, tile.panel = s.channels * kLanes;
  tile.ldy = s.ldm, tile.lo = clamp_lo(Act::kNone), tile.hi = clamp_hi(Act::kNone);
  for (int64_t t = 0; t < tiles; ++t) rows[t] = v + t * s.ldv;
  const int parts = (tiles + kMaxRows - 1) / kMaxRows;
  int nv = 0;
  for (int64_t q = 0; q < panels; q += nv) {
    nv = tile_width((tiles + parts - 1) / parts, panels - q);
    tile.w = u + q * tile.panel, tile.n = nv * kLanes;
    for (int part = 0; part < parts; ++part) {
      const Range r = share(tiles, {part, parts});
      tile.rows = rows + r.begin;
      tile.turn = part, tile.turns = parts;
      tile.y = m + r.begin * s.ldm + q * kLanes;
      tile_fn<float>(static_cast<int>(r.end - r.begin), nv)(tile);
    }
  }
}

struct Share {
  Range tiles;
  Range panels;  // of each group
};

// Work is split over tiles; over outputs where tiles are few: every worker then transforms all the input.
template <int M, int R>
Share split(const Sizes<M, R>& s, Worker worker) {
  if (s.tiles < kMaxRows * worker.count && s.panels >= worker.count) return {{0, s.tiles}, share(s.panels, worker)};
  return {share(s.tiles, worker), {0, s.panels}};
}

// put(tile, products, k, count): makes the outputs of one tile, `count` channels from k on.
template <int M, int R, class Put>
PYCNN_INLINE void convolve(const Conv2dParams& p, const Ptrs& ptrs, Worker worker, const Put& put) {
  const Sizes<M, R> s(p);
  constexpr int kPoints = Sizes<M, R>::kPoints;
  const Share mine = split(s, worker);
  const int64_t total = mine.tiles.end - mine.tiles.begin;
  if (total <= 0 || mine.panels.begin >= mine.panels.end) return;
  float* own = ptrs.workspace + worker.id * s.worker_floats();
  auto* zeros = reinterpret_cast<Element*>(own);
  auto** rows = reinterpret_cast<const float**>(own + s.zeros());
  float* v = own + s.zeros() + s.row_floats();
  float* m = v + kPoints * s.point_v;
  for (int64_t c = 0; c < s.zeros(); ++c) zeros[c] = Element{};
  const int blocks = static_cast<int>((total + s.block - 1) / s.block);
  const int64_t ks = p.group_k();
  for (int64_t g = 0; g < p.groups; ++g) {
    const float* u = ptrs.w + g * kPoints * s.panels * s.channels * kLanes;
    for (int b = 0; b < blocks; ++b) {
      const Range r = share(total, {b, blocks});
      const int64_t first = mine.tiles.begin + r.begin;
      const int tiles = static_cast<int>(r.end - r.begin);
      TileAt at[kMostTiles];
      for (int t = 0; t < tiles; ++t) {
        at[t] = tile_at(p, s, first + t);
        transform_input<M, R>(p, ptrs.x + g * s.channels, zeros, at[t], s.channels, v + t * s.ldv, s.point_v);
      }
      for (int64_t q = mine.panels.begin, q_end = q; q < mine.panels.end; q = q_end) {
        q_end = (q / kBlockPanels + 1) * kBlockPanels;
        if (q_end > mine.panels.end) q_end = mine.panels.end;
        for (int i = 0; i < kPoints; ++i)
          multiply(s, v + i * s.point_v, u + weights_at(s, q, i), rows, tiles, q_end - q, m + i * s.point_m);
        const int64_t k = q * kLanes, end = q_end * kLanes < ks ? q_end * kLanes : ks;
        for (int t = 0; t < tiles; ++t) put(at[t], TileProducts{m + t * s.ldm, s.point_m}, g * ks + k, end - k);
      }
    }
  }
}

template <int M, int R>
void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  convolve<M, R>(p, ptrs, worker, [&](TileAt at, TileProducts m, int64_t k, int64_t count) {
    transform_output<M, R>(p, ptrs, at, m, k, count);
  });
}

template <int M, int R>
void run_pool(const ConvPoolParams& p, const Ptrs& ptrs, Worker worker) {
  convolve<M, R>(p.conv, ptrs, worker, [&](TileAt at, TileProducts m, int64_t k, int64_t count) {
    pool_output<M, R>(p, ptrs, at, m, k, count);
  });
}

template <int M, int R>
const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (const char* reason = why_not_prologue(p)) return reason;
  if (p.exact) return "exact: products may not be re-associated";
  if (p.kh != R || p.kw != R) return R == 3 ? "needs a 3 x 3 kernel" : "needs a 5 x 5 kernel";
  if (p.sh != 1 || p.sw != 1) return "needs stride 1";
  if (p.x_nchw) return "needs an NHWC input";
  if (p.group_c() < kMinChannels || p.group_k() < kMinChannels) return "needs at least 16 channels a group";
  return nullptr;
}

// The windows of a tile of outputs are its own.
template <int M, int R>
const char* why_not_pool(const ConvPoolParams& p, const Machine& m) {
  if (p.window != 2 || p.stride != 2 || p.pad != 0) return "needs windows of 2 x 2, side by side";
  if (p.conv.dh != 1 || p.conv.dw != 1) return "needs a kernel without dilation";
  if (!is_clamp(p.conv.act)) return "needs an activation that is a clamp";
  return why_not<M, R>(p.conv, m);
}

// Both transforms of one tile and vector of channels take about this many multiply-adds' time, memory included (measured
// at 56^2 x 64 on Zen 4 and, with whole vectors, on Zen 5).
template <int M, int R>
double transform_cost() {
  if (R == 5) return whole_vectors() ? 450 : 290;
  if (whole_vectors()) return M == 4 ? 620 : 150;
  return M == 4 ? 350 : 106;
}

template <int M, int R>
double cost(const Conv2dParams& p, int workers) {
  const Sizes<M, R> s(p);
  const auto size = [](int64_t n) { return static_cast<double>(n); };
  const Share most = split(s, Worker{0, workers});
  const double tiles = size(most.tiles.end - most.tiles.begin), panels = size(most.panels.end - most.panels.begin);
  const double vectors = size(panels_of(s.channels)) + panels;
  const double multiplies =
      tiles * (Sizes<M, R>::kPoints * size(s.channels) * panels + transform_cost<M, R>() * vectors);
  return predicted(size(p.groups) * multiplies, size(packed_size<M, R>(p)));
}

template <int M, int R>
constexpr KernelOf<Conv2dParams> kernel(const char* name) {
  return {name, why_not<M, R>, packed_size<M, R>, pack<M, R>, workspace<M, R>, run<M, R>, cost<M, R>};
}

template <int M, int R>
constexpr KernelOf<ConvPoolParams> pool_kernel(const char* name) {
  return {name,
          why_not_pool<M, R>,
          [](const ConvPoolParams& p) { return packed_size<M, R>(p.conv); },
          [](const ConvPoolParams& p, const float* w, float* packed) { pack<M, R>(p.conv, w, packed); },
          [](const ConvPoolParams& p, int workers) { return workspace<M, R>(p.conv, workers); },
          run_pool<M, R>,
          [](const ConvPoolParams& p, int workers) { return cost<M, R>(p.conv, workers); }};
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_winograd4 = kernel<4, 3>("conv2d_winograd4_" PYCNN_KERNEL_SUFFIX);
extern const KernelOf<Conv2dParams> conv2d_winograd2 = kernel<2, 3>("conv2d_winograd2_" PYCNN_KERNEL_SUFFIX);
extern const KernelOf<Conv2dParams> conv2d_winograd5x5 = kernel<2, 5>("conv2d_winograd5x5_" PYCNN_KERNEL_SUFFIX);
extern const KernelOf<ConvPoolParams> conv2d_pool_winograd4 =
    pool_kernel<4, 3>("conv2d_pool_winograd4_" PYCNN_KERNEL_SUFFIX);
extern const KernelOf<ConvPoolParams> conv2d_pool_winograd2 =
    pool_kernel<2, 3>("conv2d_pool_winograd2_" PYCNN_KERNEL_SUFFIX);

}  // namespace pycnn::PYCNN_ISA_NS
