// Convolution to few outputs (the last layer of a restoration network, a small head, a digit net's first layer): vectors
// run over pixels, where vectors over outputs would be mostly empty. The input rows under a block of output rows are
// copied plane by plane, with their padding; an output row is then as long as a row of the copy, so that all pixels of
// the block are one run and those past a row's end are dropped.
#include "base/simd/activate.h"
#include "base/simd/gemm.h"
#include "base/simd/transpose.h"
#include "ops/conv2d/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int kMostOutputs = kLanes / 2;
constexpr int64_t kLeastPixels = 4 * kLanes;

// Vectors of pixels a pass: with k outputs as many sums as the registers hold beside the operands.
constexpr int vectors_for(int k) {
  const int most = (kLanes == 16 ? 24 : 12) / k;
  return most < 8 ? most : 8;
}

struct Block {
  int64_t width, rows,
      plane;  // floats of a copied row; output rows; floats of a copied plane with what a pass overreads
  explicit Block(const Conv2dParams& p) {
    const int64_t span = (p.kh - 1) * p.dh;
    width = p.ow + (p.kw - 1) * p.dw;
    rows = machine().l2_bytes / 2 / (4 * p.c * width) - span;
    rows = rows < 1 ? 1 : rows > p.oh ? p.oh : rows;
    plane = (rows + span) * width + 8 * kLanes;
  }
  int64_t worker_floats(const Conv2dParams& p) const {
    return (p.c * plane + kMostOutputs * 8 * kLanes + 15) / 16 * 16;
  }
};

int64_t workspace(const Conv2dParams& p, int workers) { return workers * Block(p).worker_floats(p); }

int64_t packed_size(const Conv2dParams& p) { return p.k * p.c * p.kh * p.kw; }

// [c][kh][kw][k].
void pack(const Conv2dParams& p, const float* w, float* packed) {
  const int64_t reduction = p.c * p.kh * p.kw;
  for (int64_t r = 0; r < reduction; ++r)
    for (int64_t k = 0; k < p.k; ++k) *packed++ = w[k * reduction + r];
}

// Copies input rows y0 .. y0 + rows of image n to planes [c][rows][width], zero outside the map.
void copy_planes(const Conv2dParams& p, const Block& b, const float* x, int64_t n, int64_t y0, int64_t rows,
                 float* to) {
  const int64_t columns = p.w < b.width - p.pw ? p.w : b.width - p.pw;
  for (int64_t c = 0; c < p.c; ++c)
    for (int64_t i = 0; i < b.plane; ++i) to[c * b.plane + i] = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t y = y0 + r;
    if (y < 0 || y >= p.h || columns <= 0) continue;
    float* row = to + r * b.width + p.pw;
    if (p.x_nchw || (p.c == 1 && p.ldx == 1)) {
      const float* line = x + (n * p.c * p.h + y) * p.w;
      for (int64_t c = 0; c < p.c; ++c)
        for (int64_t i = 0; i < columns; ++i) row[c * b.plane + i] = line[c * p.h * p.w + i];
    } else {
      transpose(x + (n * p.h + y) * p.w * p.ldx, p.ldx, row, b.plane, p.c, columns);
    }
  }
}

// Sums and bias of K outputs over NV vectors of pixels from `from` on, clamped: sums[k][NV * kLanes].
template <int K, int NV>
void pass(const Conv2dParams& p, const Block& b, const float* from, const float* w, const float* bias, float lo,
          float hi, float* sums) {
  Vec acc[K][NV];
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v) acc[k][v] = bias ? broadcast(bias[k]) : Vec{};
  for (int64_t c = 0; c < p.c; ++c)
    for (int64_t i = 0; i < p.kh; ++i) {
      const float* x = from + c * b.plane + i * p.dh * b.width;
      for (int64_t j = 0; j < p.kw; ++j, x += p.dw, w += K) {
        Vec pixels[NV];
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) pixels[v] = load(x + v * kLanes);
#pragma GCC unroll 8
        for (int k = 0; k < K; ++k) {
          const Vec weight = broadcast(w[k]);
#pragma GCC unroll 8
          for (int v = 0; v < NV; ++v) acc[k][v] += weight * pixels[v];
        }
      }
    }
#pragma GCC unroll 8
  for (int k = 0; k < K; ++k)
#pragma GCC unroll 8
    for (int v = 0; v < NV; ++v)
      store(sums + (k * NV + v) * kLanes, at_most(at_least(acc[k][v], broadcast(lo)), broadcast(hi)));
}

// y[pixel][K] = from[K][ld] of `count` pixels, dense: each vector of y takes its lanes from all K vectors of pixels. Reads
// up to a vector past a row's end.
template <int K>
void interleave(const float* from, int64_t ld, int64_t count, float* y) {
  for (int64_t i = 0; i < count; i += kLanes, y += K * kLanes) {
    const int64_t floats = (count - i) * K;
    Vec row[K];
#pragma GCC unroll 8
    for (int k = 0; k < K; ++k) row[k] = load(from + k * ld + i);
#pragma GCC unroll 8
    for (int v = 0; v < K; ++v) {
      if (floats <= v * kLanes) break;
      IVec pixel, output;
#pragma GCC unroll 16
      for (int lane = 0; lane < kLanes; ++lane) {
        pixel[lane] = (v * kLanes + lane) / K;
        output[lane] = (v * kLanes + lane) % K;
      }
      Vec out = __builtin_shuffle(row[0], pixel);
#pragma GCC unroll 8
      for (int k = 1; k < K; ++k) out = output == k ? __builtin_shuffle(row[k], pixel) : out;
      if (floats >= (v + 1) * kLanes)
        store(y + v * kLanes, out);
      else
        store_first(y + v * kLanes, out, floats - v * kLanes);
    }
  }
}

// Residual, what activation pass() left to be done, then NHWC of `count` pixels: pixel i is at `pixel` + i.
template <int K>
void finish(const Conv2dParams& p, const Ptrs& ptrs, float* sums, int64_t ld, int64_t count, int64_t pixel) {
  const float* r = ptrs.residual ? ptrs.residual + pixel * p.ldr : nullptr;
  for (int64_t i = 0; r != nullptr && i < count; ++i, r += p.ldr)
    for (int k = 0; k < K; ++k) sums[k * ld + i] += r[k];
  if (r != nullptr || !is_clamp(p.act)) activate_rows(sums, ld, K, count, p.act, static_cast<float>(p.act_param));
  float* y = ptrs.y + pixel * p.ldy;
  if (p.ldy == K) return interleave<K>(sums, ld, count, y);
  for (int64_t i = 0; i < count; ++i, y += p.ldy)
    for (int k = 0; k < K; ++k) y[k] = sums[k * ld + i];
}

template <int K>
void rows_of_outputs(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  constexpr int kVectors = vectors_for(K);
  constexpr int64_t kPass = kVectors * kLanes;
  const Block b(p);
  float* planes = ptrs.workspace + worker.id * b.worker_floats(p);
  float* sums = planes + p.c * b.plane;
  const Act clamp = ptrs.residual ? Act::kNone : p.act;  // what adds comes first
  const float lo = clamp_lo(clamp), hi = clamp_hi(clamp);
  const Range mine = share(p.n * p.oh, worker);
  for (int64_t row = mine.begin; row < mine.end;) {
    const int64_t n = row / p.oh, oy = row % p.oh;
    int64_t rows = b.rows < p.oh - oy ? b.rows : p.oh - oy;
    if (rows > mine.end - row) rows = mine.end - row;
    copy_planes(p, b, ptrs.x, n, oy - p.ph, rows + (p.kh - 1) * p.dh, planes);
    const int64_t end = (rows - 1) * b.width + p.ow;
    for (int64_t at = 0; at < end; at += kPass) {
      pass<K, kVectors>(p, b, planes + at, ptrs.w, ptrs.bias, lo, hi, sums);
      const int64_t until = at + kPass < end ? at + kPass : end;
      for (int64_t f = at; f < until;) {
        const int64_t r = f / b.width, column = f % b.width;
        const int64_t next = (r + 1) * b.width < until ? (r + 1) * b.width : until;
        const int64_t count = (next - f < p.ow - column) ? next - f : p.ow - column;
        if (count > 0) finish<K>(p, ptrs, sums + f - at, kPass, count, (row + r) * p.ow + column);
        f = next;
      }
    }
    row += rows;
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  switch (p.k) {
#define PYCNN_OUTPUTS(k)                                                  \
  case k:                                                                 \
    if constexpr (k <= kMostOutputs) rows_of_outputs<k>(p, ptrs, worker); \
    return;
    PYCNN_OUTPUTS(1)
    PYCNN_OUTPUTS(2)
    PYCNN_OUTPUTS(3)
    PYCNN_OUTPUTS(4)
    PYCNN_OUTPUTS(5)
    PYCNN_OUTPUTS(6)
    PYCNN_OUTPUTS(7)
    PYCNN_OUTPUTS(8)
#undef PYCNN_OUTPUTS
  }
}

const char* why_not(const Conv2dParams& p, const Machine& m) {
  if (const char* reason = why_not_here(m)) return reason;
  if (const char* reason = why_not_prologue(p)) return reason;
  if (p.groups != 1) return "needs groups == 1";
  if (p.sh != 1 || p.sw != 1) return "needs stride 1";
  if (p.k > kMostOutputs) return "needs at most half a vector of outputs";
  if (p.oh * p.ow < kLeastPixels) return "needs at least 4 vectors of output pixels";
  return nullptr;
}

}  // namespace

extern const KernelOf<Conv2dParams> conv2d_planar{
    "conv2d_planar_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack, workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
