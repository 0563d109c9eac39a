// A tile of queries at a time: all its scores (l2-sized for the few thousand keys a map has), their exponentials, the
// product with the values, divided by the sums. Keys and values of a head are packed as panels once by each worker
// that has queries of it.
#include "base/simd/panels.h"
#include "base/simd/softmax.h"
#include "ops/attention/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// A worker's memory, in floats: panels of keys, values [panels of dv][s][kLanes], scores [kMaxRows][lds], sums [kMaxRows][ldo]
// where the result would round them.
struct Sizes {
  int64_t keys, values, lds, ldo;
  explicit Sizes(const AttentionParams& p)
      : keys(floats_of(panels_of(p.s) * panel_size(1, p.d))),
        values(panels_of(p.dv) * p.s * kLanes),
        lds(panels_of(p.s) * kLanes),
        ldo(sizeof(Element) == sizeof(float) ? 0 : panels_of(p.dv) * kLanes) {}
  int64_t all() const { return keys + values + kMaxRows * (lds + ldo); }
};

struct Memory {
  Element* keys;
  float *values, *scores, *sums;
  Memory(const Sizes& sizes, float* at)
      : keys(reinterpret_cast<Element*>(at)),
        values(at + sizes.keys),
        scores(values + sizes.values),
        sums(scores + kMaxRows * sizes.lds) {}
};

void pack_keys(const AttentionParams& p, const Element* k, Element* packed) {
  const int64_t size = panel_size(1, p.d);
  for (int64_t j = 0; j < p.s; j += kLanes, packed += size)
    pack_values(k + j * p.ldk, 1, p.ldk, p.d, p.s - j < kLanes ? p.s - j : kLanes, packed);
}

// Values as fp32: their factors, the exponentials, are.
void widen_values(const AttentionParams& p, const Element* v, float* packed) {
  for (int64_t i = 0; i < p.dv; i += kLanes)
    for (int64_t j = 0; j < p.s; ++j, packed += kLanes) store(packed, load_some(v + j * p.ldv + i, p.dv - i));
}

// Where the sums of fp32 go: to y, or aside.
template <class E>
PYCNN_INLINE float* between(E* y, float* aside) {
  if constexpr (sizeof(E) == sizeof(float))
    return y;
  else
    return aside;
}

// mr rows of queries of one head from q on.
void queries(const AttentionParams& p, const Element* q, Element* y, const Memory& memory, int mr) {
  const Sizes sizes(p);
  const Element* rows[kMaxRows];
  TileOf<Element, float> products{};
  products.rows = rows, products.taps = 1, products.lo = clamp_lo(Act::kNone), products.hi = clamp_hi(Act::kNone);
  for (int r = 0; r < mr; ++r) rows[r] = q + r * p.ldq;
  products.depth = p.d, products.w = memory.keys, products.panel = panel_size(1, p.d);
  products.y = memory.scores, products.ldy = sizes.lds, products.n = p.s;
  run_products(products, mr, 0, panels_of(p.s));
  const float scale = static_cast<float>(p.scale);
  const float* exponents[kMaxRows];
  float sums[kMaxRows];
  for (int r = 0; r < mr; ++r) {
    float* row = memory.scores + r * sizes.lds;
    exponents[r] = row;
    sums[r] = exponentials(row, row, p.s, scale, largest(row, p.s, scale));
  }
  TileOf<float> means{};
  means.rows = exponents, means.taps = 1, means.lo = products.lo, means.hi = products.hi;
  means.depth = p.s, means.w = memory.values, means.panel = p.s * kLanes, means.n = p.dv;
  float* raw = between(y, memory.sums);
  const int64_t ld = sizes.ldo ? sizes.ldo : p.ldy;
  means.y = raw, means.ldy = ld;
  run_products(means, mr, 0, panels_of(p.dv));
  for (int r = 0; r < mr; ++r) scale_row(raw + r * ld, y + r * p.ldy, p.dv, 1 / sums[r]);
}

int64_t workspace(const AttentionParams& p, int workers) { return Sizes(p).all() * workers; }

void run(const AttentionParams& p, const Ptrs& ptrs, Worker worker) {
  const Sizes sizes(p);
  const Memory memory(sizes, ptrs.workspace + worker.id * sizes.all());
  const auto* v = reinterpret_cast<const Element*>(ptrs.w);
  const int64_t tiles = (p.l + kMaxRows - 1) / kMaxRows;
  const Range mine = share(p.n * p.heads * tiles, worker);
  int64_t packed = -1;
  for (int64_t item = mine.begin; item < mine.end; ++item) {
    const int64_t pair = item / tiles, n = pair / p.heads, head = pair % p.heads;
    if (pair != packed) {
      pack_keys(p, ptrs.residual + n * p.s * p.ldk + head * p.d, memory.keys);
      widen_values(p, v + n * p.s * p.ldv + head * p.dv, memory.values);
      packed = pair;
    }
    const int64_t first = p.l * (item % tiles) / tiles, end = p.l * (item % tiles + 1) / tiles;
    queries(p, ptrs.x + (n * p.l + first) * p.ldq + head * p.d, ptrs.y + (n * p.l + first) * p.ldy + head * p.dv,
            memory, static_cast<int>(end - first));
  }
}

const char* why_not(const AttentionParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<AttentionParams> attention_tiles{
    "attention_tiles_" PYCNN_KERNEL_SUFFIX, why_not,   no_weights<AttentionParams>,
    pack_nothing<AttentionParams>,          workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
