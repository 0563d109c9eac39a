// A tile of queries at a time: all its scores (l2-sized for the few thousand keys a map has), their exponentials, the
// product with the values, divided by the sums. Keys and values of a head are packed as panels once by each worker
// that has queries of it.
#include "base/simd/gemm.h"
#include "base/simd/softmax.h"
#include "base/simd/transpose.h"
#include "ops/attention/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// A worker's memory, in floats: keys [panels of s][d][kLanes], values [panels of dv][s][kLanes], scores [kMaxRows][lds].
struct Sizes {
  int64_t keys, values, lds;
  explicit Sizes(const AttentionParams& p)
      : keys(panels_of(p.s) * p.d * kLanes), values(panels_of(p.dv) * p.s * kLanes), lds(panels_of(p.s) * kLanes) {}
  int64_t all() const { return keys + values + kMaxRows * lds; }
};

void pack_keys(const AttentionParams& p, const float* k, float* packed) {
  for (int64_t j = 0; j < p.s; j += kLanes) {
    const int64_t columns = p.s - j < kLanes ? p.s - j : kLanes;
    float* panel = packed + j * p.d;
    if (columns < kLanes)
      for (int64_t i = 0; i < p.d * kLanes; ++i) panel[i] = 0;
    transpose(k + j * p.ldk, p.ldk, panel, kLanes, p.d, columns);
  }
}

void pack_values(const AttentionParams& p, const float* v, float* packed) {
  for (int64_t i = 0; i < p.dv; i += kLanes)
    for (int64_t j = 0; j < p.s; ++j, packed += kLanes) {
      const float* row = v + j * p.ldv + i;
      store(packed, p.dv - i < kLanes ? load_first(row, p.dv - i) : load(row));
    }
}

// Rows first up to first + mr of the queries of one head.
void queries(const AttentionParams& p, const float* q, float* y, const float* keys, const float* values, float* scores,
             int mr) {
  const Sizes sizes(p);
  const float* rows[kMaxRows];
  Tile tile{};
  tile.rows = rows, tile.taps = 1, tile.lo = clamp_lo(Act::kNone), tile.hi = clamp_hi(Act::kNone);
  for (int r = 0; r < mr; ++r) rows[r] = q + r * p.ldq;
  tile.depth = p.d, tile.w = keys, tile.panel = p.d * kLanes, tile.y = scores, tile.ldy = sizes.lds, tile.n = p.s;
  run_panels(tile, mr, 0, panels_of(p.s), Act::kNone, 0);
  const float scale = static_cast<float>(p.scale);
  float sums[kMaxRows];
  for (int r = 0; r < mr; ++r) {
    float* row = scores + r * sizes.lds;
    rows[r] = row;
    sums[r] = exponentials(row, row, p.s, scale, largest(row, p.s, scale));
  }
  tile.depth = p.s, tile.w = values, tile.panel = p.s * kLanes, tile.y = y, tile.ldy = p.ldy, tile.n = p.dv;
  run_panels(tile, mr, 0, panels_of(p.dv), Act::kNone, 0);
  for (int r = 0; r < mr; ++r) scale_row(y + r * p.ldy, y + r * p.ldy, p.dv, 1 / sums[r]);
}

int64_t workspace(const AttentionParams& p, int workers) { return Sizes(p).all() * workers; }

void run(const AttentionParams& p, const Ptrs& ptrs, Worker worker) {
  const Sizes sizes(p);
  float* keys = ptrs.workspace + worker.id * sizes.all();
  float *values = keys + sizes.keys, *scores = values + sizes.values;
  const int64_t tiles = (p.l + kMaxRows - 1) / kMaxRows;
  const Range mine = share(p.n * p.heads * tiles, worker);
  int64_t packed = -1;
  for (int64_t item = mine.begin; item < mine.end; ++item) {
    const int64_t pair = item / tiles, n = pair / p.heads, head = pair % p.heads;
    if (pair != packed) {
      pack_keys(p, ptrs.residual + n * p.s * p.ldk + head * p.d, keys);
      pack_values(p, ptrs.w + n * p.s * p.ldv + head * p.dv, values);
      packed = pair;
    }
    const int64_t first = p.l * (item % tiles) / tiles, end = p.l * (item % tiles + 1) / tiles;
    queries(p, ptrs.x + (n * p.l + first) * p.ldq + head * p.d, ptrs.y + (n * p.l + first) * p.ldy + head * p.dv, keys,
            values, scores, static_cast<int>(end - first));
  }
}

const char* why_not(const AttentionParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<AttentionParams> attention_tiles{
    "attention_tiles_" PYCNN_KERNEL_SUFFIX, why_not,   no_weights<AttentionParams>,
    pack_nothing<AttentionParams>,          workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
