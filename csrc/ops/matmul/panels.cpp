// Entry by entry: b packed as panels, as many at a time as L2 holds, under tiles of rows of a. What does not lie as the
// tile reads it (elements of a row of a or r that are apart) is copied tile by tile. A result whose columns are adjacent
// is made as y^T = b^T a^T.
#include "base/simd/panels.h"
#include "ops/matmul/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kPacked = 1 << 16;  // floats of b's panels at a time: 256 KiB, beside the rows of a in L2
constexpr int64_t kFewest = 8;        // panels of the widest tile

// The product whose rows are adjacent in y, `turned`: with a and b exchanged; where both are, the one that is wider. One
// element is adjacent to itself.
struct Oriented {
  MatMulParams p;
  bool turned;
};

Oriented oriented(const MatMulParams& whole) {
  MatMulParams p = whole;
  if (p.c == 1) p.ac = p.bc = 1;
  if (p.m == 1) p.am = p.rm = p.ym = 1;
  if (p.k == 1) p.bk = p.rk = p.yk = 1;
  if (p.yk == 1 && !(p.ym == 1 && p.m > p.k)) return {p, false};
  MatMulParams q = p;
  q.m = p.k, q.k = p.m;
  for (int d = 0; d < kMatMulAxes; ++d) q.a[d] = p.b[d], q.b[d] = p.a[d];
  q.am = p.bk, q.ac = p.bc, q.bc = p.ac, q.bk = p.am;
  q.rm = p.rk, q.rk = p.rm, q.ym = p.yk, q.yk = p.ym;
  return {q, true};
}

// A worker's memory, in floats: panels of b, rows of a [kMaxRows][c], rows of r or of sums [kMaxRows][ldr].
struct Sizes {
  int64_t panels, panel, b, a, ldr;  // panel: elements of one
  explicit Sizes(const MatMulParams& p) : panel(panel_size(1, p.c)) {
    const int64_t all = panels_of(p.k), fit = kPacked / (floats_of(panel) + 1);
    panels = fit < kFewest ? kFewest : fit;
    if (panels > all) panels = all;
    ldr = panels * kLanes;
    b = floats_of(panels * panel);
    a = p.ac == 1 ? 0 : (floats_of(kMaxRows * p.c) + kLanes - 1) / kLanes * kLanes;
  }
  int64_t all() const { return b + a + kMaxRows * ldr; }
};

struct Memory {
  Element *b, *a;
  float* r;
};

// One entry of the batch.
template <class E>
struct Entry {
  const E *a, *b, *r;
  E* y;
};

template <class E>
PYCNN_INLINE Vec strided(const E* p, int64_t stride, int64_t n) {
  Vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = value_of(p[i * stride]);
  return v;
}

// to[i * ld + j] = from[i * row + j * column].
void gather(const Element* from, int64_t row, int64_t column, Element* to, int64_t ld, int64_t rows, int64_t columns) {
  if (row == 1) return transpose(from, column, to, ld, rows, columns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) to[i * ld + j] = from[i * row + j * column];
}

// One panel of b, of which `columns` are there; times scale where that is not rounded.
template <class E>
void pack_columns(const MatMulParams& p, const E* b, int64_t columns, E* panel) {
  pack_values(b, p.bc, p.bk, p.c, columns, panel);
  if constexpr (sizeof(E) == sizeof(float)) {
    const float scale = static_cast<float>(p.scale);
    for (int64_t c = 0; c < p.c && scale != 1; ++c) store(panel + c * kLanes, load(panel + c * kLanes) * scale);
  }
}

void store_single(const MatMulParams& p, const Entry<Element>& at, int64_t j, int64_t n, Vec sum) {
  if (at.r != nullptr) sum += p.rk == 1 ? load_some(at.r + j, n) : strided(at.r + j * p.rk, p.rk, n);
  n < kLanes ? store_first(at.y + j, sum, n) : store(at.y + j, sum);
}

// Columns [begin, end) of a single row, b read where it lies: each of its elements is multiplied once. The same products
// in the same order as the tile's of fp32.
void single_row(const MatMulParams& p, const Entry<Element>& at, int64_t begin, int64_t end) {
  constexpr int kWide = 4;
  const float scale = static_cast<float>(p.scale);
  for (int64_t j = begin; j < end; j += kWide * kLanes) {
    const Element* b = at.b + j;
    int64_t left[kWide];
    Vec sums[kWide] = {};
#pragma GCC unroll 4
    for (int v = 0; v < kWide; ++v) left[v] = end - j - v * kLanes;
    const bool whole = left[kWide - 1] >= kLanes;
    for (int64_t c = 0; c < p.c; ++c, b += p.bc) {
      const Vec a = broadcast(value_of(at.a[c * p.ac]));
#pragma GCC unroll 4
      for (int v = 0; v < kWide; ++v)
        if (whole || left[v] > 0)
          sums[v] += a * ((whole ? load(b + v * kLanes) : load_some(b + v * kLanes, left[v])) * scale);
    }
#pragma GCC unroll 4
    for (int v = 0; v < kWide; ++v) {
      if (left[v] > 0) store_single(p, at, j + v * kLanes, left[v] < kLanes ? left[v] : kLanes, sums[v]);
    }
  }
}

// y = scale * sums + r of one row of n columns, rounded once.
template <class E>
PYCNN_INLINE void scaled_row(const MatMulParams& p, const float* sums, const E* r, E* y, int64_t n) {
  const float scale = static_cast<float>(p.scale);
  for (int64_t j = 0; j < n; j += kLanes) {
    const int64_t left = n - j < kLanes ? n - j : kLanes;
    Vec v = load(sums + j) * scale;
    if (r != nullptr) v += p.rk == 1 ? load_some(r + j, left) : strided(r + j * p.rk, p.rk, left);
    left < kLanes ? store_first(y + j, v, left) : store(y + j, v);
  }
}

// Rows i .. i + mr times the panels in memory, which are the columns from k0 on. Of bf16 the sums stay fp32 until they are
// scaled and r is added.
template <class E>
PYCNN_INLINE void rows_of_tile(const MatMulParams& p, const Entry<E>& at, TileOf<E, float>& tile, int64_t i, int mr,
                               int64_t k0, float* memory) {
  const E* r = at.r ? at.r + i * p.rm + k0 * p.rk : nullptr;
  E* y = at.y + i * p.ym + k0;
  const int64_t n = tile.n, ld = panels_of(n) * kLanes;
  if constexpr (sizeof(E) == sizeof(float)) {
    if (r != nullptr && p.rk != 1) gather(r, p.rm, p.rk, memory, n, mr, n);
    tile.residual = r != nullptr && p.rk != 1 ? memory : r, tile.ldr = p.rk != 1 ? n : p.rm;
    tile.y = y, tile.ldy = p.ym;
    run_products(tile, mr, 0, panels_of(n));
  } else {
    tile.y = memory, tile.ldy = ld;
    run_products(tile, mr, 0, panels_of(n));
    for (int row = 0; row < mr; ++row)
      scaled_row(p, memory + row * ld, r ? r + row * p.rm : nullptr, y + row * p.ym, n);
  }
}

// Panels [first, last) of one entry under its rows [begin, end). `packed`: they lie in memory already.
void block(const MatMulParams& p, const Entry<Element>& at, Range rows, int64_t first, int64_t last, bool packed,
           const Memory& memory) {
  const int64_t k0 = first * kLanes, k1 = last * kLanes < p.k ? last * kLanes : p.k, size = panel_size(1, p.c);
  const bool ordered = sizeof(Element) == sizeof(float);  // pairs of bf16 are added in another order
  if (ordered && p.m == 1 && p.bk == 1) return single_row(p, at, k0, k1);
  for (int64_t panel = packed ? last : first; panel < last; ++panel)
    pack_columns(p, at.b + panel * kLanes * p.bk, p.k - panel * kLanes < kLanes ? p.k - panel * kLanes : kLanes,
                 memory.b + (panel - first) * size);
  const Element* pointers[kMaxRows];
  TileOf<Element, float> tile{};
  tile.rows = pointers, tile.taps = 1, tile.depth = p.c, tile.w = memory.b, tile.panel = size;
  tile.n = k1 - k0, tile.lo = clamp_lo(Act::kNone), tile.hi = clamp_hi(Act::kNone);
  const int64_t total = rows.end - rows.begin, tiles = (total + kMaxRows - 1) / kMaxRows;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t i = rows.begin + total * t / tiles;
    const int mr = static_cast<int>(rows.begin + total * (t + 1) / tiles - i);
    const Element* a = at.a + i * p.am;
    if (p.ac != 1) gather(a, p.am, p.ac, memory.a, p.c, mr, p.c);
    for (int row = 0; row < mr; ++row) pointers[row] = p.ac == 1 ? a + row * p.am : memory.a + row * p.c;
    rows_of_tile(p, at, tile, i, mr, k0, memory.r);
  }
}

Entry<Element> entry_of(const MatMulParams& p, const Ptrs& ptrs, bool turned, int64_t entry) {
  const auto* r = reinterpret_cast<const Element*>(ptrs.w);
  return {(turned ? ptrs.residual : ptrs.x) + matmul_start(p, p.a, entry),
          (turned ? ptrs.x : ptrs.residual) + matmul_start(p, p.b, entry),
          r ? r + matmul_start(p, p.r, entry) : nullptr, ptrs.y + matmul_start(p, p.y, entry)};
}

int64_t workspace(const MatMulParams& whole, int workers) { return Sizes(oriented(whole).p).all() * workers; }

// Tiles of rows are shared where there are many, or entries enough that few workers pack the same b; else panels.
void run(const MatMulParams& whole, const Ptrs& ptrs, Worker worker) {
  const Oriented way = oriented(whole);
  const MatMulParams& p = way.p;
  const Sizes sizes(p);
  float* own = ptrs.workspace + worker.id * sizes.all();
  const Memory memory{reinterpret_cast<Element*>(own), reinterpret_cast<Element*>(own + sizes.b),
                      own + sizes.b + sizes.a};
  const int64_t entries = matmul_batch(p), panels = panels_of(p.k);
  const bool by_rows = entries >= 2 * worker.count || p.m >= 4 * kMaxRows * worker.count;
  const int64_t tiles = by_rows ? (p.m + kMaxRows - 1) / kMaxRows : panels;
  const Range mine = share(entries * tiles, worker);
  const Element* packed = nullptr;
  for (int64_t item = mine.begin, next; item < mine.end; item = next) {
    const int64_t entry = item / tiles, begin = item % tiles;
    next = (entry + 1) * tiles < mine.end ? (entry + 1) * tiles : mine.end;
    const int64_t end = next - entry * tiles;
    const Range rows = by_rows ? Range{p.m * begin / tiles, p.m * end / tiles} : Range{0, p.m};
    const Range columns = by_rows ? Range{0, panels} : Range{begin, end};
    const Entry<Element> at = entry_of(p, ptrs, way.turned, entry);
    const bool whole_b = by_rows && sizes.panels == panels;
    for (int64_t first = columns.begin; first < columns.end; first += sizes.panels) {
      const int64_t last = first + sizes.panels < columns.end ? first + sizes.panels : columns.end;
      block(p, at, rows, first, last, whole_b && packed == at.b, memory);
    }
    packed = at.b;
  }
}

const char* why_not(const MatMulParams& p, const Machine& m) {
  if (oriented(p).p.yk != 1) return "needs the rows or the columns of the result adjacent";
  return why_not_here(m);
}

}  // namespace

extern const KernelOf<MatMulParams> matmul_panels{
    "matmul_panels_" PYCNN_KERNEL_SUFFIX, why_not,   no_weights<MatMulParams>,
    pack_nothing<MatMulParams>,           workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
