// To NCHW: vectors run over the columns of a plane. The rows of inputs that a row of outputs lies between are transposed,
// kLanes channels at a time, and serve all rows of outputs between them; each of these blends them to one line, whose
// neighbours a shuffle brings under their outputs.
#include "base/simd/transpose.h"
#include "ops/upsample/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

int64_t padded(int64_t size) { return (size + kLanes - 1) / kLanes * kLanes; }

// Elements of a transposed row and floats of a line: reading a vector that begins one behind the last is allowed.
int64_t line_size(const UpsampleParams& p) { return padded(p.w) + kLanes; }

// Where a worker keeps what it needs.
struct Space {
  int32_t* low;     // [ow]: source column of each output
  float* weight;    // [ow]: of the column behind it; bilinear alone
  float* line;      // [line_size]
  Element* rows;    // [2][kLanes][line_size]: row i of the inputs in half i % 2
  int64_t held[2];  // which
};

int64_t worker_floats(const UpsampleParams& p) {
  return 2 * padded(p.ow) + line_size(p) + floats_of(2 * kLanes * line_size(p));
}

int64_t workspace(const UpsampleParams& p, int workers) { return workers * worker_floats(p); }

Space space_of(const UpsampleParams& p, float* memory) {
  Space s{};
  s.low = reinterpret_cast<int32_t*>(memory), s.weight = memory + padded(p.ow);
  s.line = s.weight + padded(p.ow), s.rows = reinterpret_cast<Element*>(s.line + line_size(p));
  return s;
}

void find_columns(const UpsampleParams& p, const Space& s) {
  const double step = upsample_step(p.mode, p.w, p.ow, p.factor_w);
  for (int64_t ox = 0; ox < padded(p.ow); ++ox) {
    if (ox >= p.ow) {
      s.low[ox] = s.low[p.ow - 1], s.weight[ox] = 0;
    } else if (p.mode == UpsampleMode::kNearest) {
      s.low[ox] = static_cast<int32_t>(upsample_nearest(ox, p.w, static_cast<float>(step)));
    } else {
      const UpsampleTap tap = upsample_tap(p.mode, ox, p.w, step);
      s.low[ox] = static_cast<int32_t>(tap.low), s.weight[ox] = tap.weight;
    }
  }
}

// Row i of an image's inputs, channels c .. c + count, as [count][line_size].
const Element* row_at(const UpsampleParams& p, Space& s, const Element* image, int64_t i, int64_t c, int64_t count) {
  Element* const at = s.rows + i % 2 * kLanes * line_size(p);
  if (s.held[i % 2] != i) transpose(image + i * p.w * p.ldx + c, p.ldx, at, line_size(p), count, p.w);
  s.held[i % 2] = i;
  return at;
}

// Outputs ox .. ox + kLanes of a row. Columns that lie closer together than outputs, which a shuffle of one vector
// reaches, else each by itself.
template <bool kNearest>
PYCNN_INLINE Vec columns(const Space& s, int64_t ox) {
  const int32_t* const low = s.low + ox;
  Vec left, right{};
  if (low[kLanes - 1] - low[0] < kLanes) {
    IVec at;
    std::memcpy(&at, low, sizeof at);
    at -= low[0];
    left = __builtin_shuffle(load(s.line + low[0]), at);
    if (!kNearest) right = __builtin_shuffle(load(s.line + low[0] + 1), at);
  } else {
    for (int i = 0; i < kLanes; ++i) {
      left[i] = s.line[low[i]];
      if (!kNearest) right[i] = s.line[low[i] + 1];
    }
  }
  if (kNearest) return left;
  const Vec weight = load(s.weight + ox);
  return (1 - weight) * left + weight * right;
}

template <bool kNearest>
void spread(const UpsampleParams& p, const Space& s, Element* y) {
  int64_t ox = 0;
  for (; ox + kLanes <= p.ow; ox += kLanes) store(y + ox, columns<kNearest>(s, ox));
  if (ox < p.ow) store_first(y + ox, columns<kNearest>(s, ox), p.ow - ox);
}

// Row oy of an image's outputs, channels c .. c + count; y: of the first of them.
void one_row(const UpsampleParams& p, Space& s, const Element* image, int64_t oy, int64_t c, int64_t count,
             Element* y) {
  const double step = upsample_step(p.mode, p.h, p.oh, p.factor_h);
  const bool nearest = p.mode == UpsampleMode::kNearest;
  UpsampleTap tap{};
  if (nearest)
    tap.low = tap.high = upsample_nearest(oy, p.h, static_cast<float>(step));
  else
    tap = upsample_tap(p.mode, oy, p.h, step);
  const Element* top = row_at(p, s, image, tap.low, c, count);
  const Element* bottom = row_at(p, s, image, tap.high, c, count);
  const Vec above = broadcast(1 - tap.weight), below = broadcast(tap.weight);
  for (int64_t k = 0; k < count; ++k, top += line_size(p), bottom += line_size(p), y += p.oh * p.ow) {
    for (int64_t j = 0; j < p.w; j += kLanes)
      store(s.line + j, nearest ? load(top + j) : above * load(top + j) + below * load(bottom + j));
    store(s.line + p.w, broadcast(s.line[p.w - 1]));
    nearest ? spread<true>(p, s, y) : spread<false>(p, s, y);
  }
}

void run(const UpsampleParams& p, const Ptrs& ptrs, Worker worker) {
  const Range mine = share(p.n * p.oh, worker);
  Space s = space_of(p, ptrs.workspace + worker.id * worker_floats(p));
  find_columns(p, s);
  for (int64_t first = mine.begin; first < mine.end;) {
    const int64_t n = first / p.oh, end = (n + 1) * p.oh < mine.end ? (n + 1) * p.oh : mine.end;
    for (int64_t c = 0; c < p.c; c += kLanes) {
      s.held[0] = s.held[1] = -1;
      for (int64_t row = first; row < end; ++row)
        one_row(p, s, ptrs.x + n * p.h * p.w * p.ldx, row % p.oh, c, p.c - c < kLanes ? p.c - c : kLanes,
                ptrs.y + ((n * p.c + c) * p.oh + row % p.oh) * p.ow);
    }
    first = end;
  }
}

const char* why_not(const UpsampleParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (!p.y_nchw) return "writes NCHW";
  return p.w < int64_t{1} << 30 ? nullptr : "has more than 2^30 columns";
}

}  // namespace

extern const KernelOf<UpsampleParams> upsample_planes{
    "upsample_planes_" PYCNN_KERNEL_SUFFIX, why_not,   no_weights<UpsampleParams>,
    pack_nothing<UpsampleParams>,           workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
