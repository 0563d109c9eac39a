// Channels adjacent: one pass for the statistics of every channel, blocks of pixels merged one after the other, from
// which those of the groups follow; a second pass for the result. Two reads and a write of memory in all.
#include <cmath>

#include "base/simd/activate.h"
#include "base/simd/gemm.h"
#include "ops/group_norm/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kBlock = 32;  // pixels: their second reading, for the squares, is from L1
constexpr int64_t kRows = 16;   // pixels between two calls of the activation

int64_t padded(int64_t c) { return panels_of(c) * kLanes; }

// mean and squared deviations of a vector of channels over `count` pixels, merged with those of `done` pixels before
// (Chan, Golub, LeVeque 1979).
template <class Load>
PYCNN_INLINE void merge(const Element* x, int64_t ld, int64_t count, int64_t done, float* mean, float* squares,
                        Load get) {
  const auto total = [&](auto f) __attribute__((always_inline)) {
    Vec sums[4] = {};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) sums[u] += f(get(x + (i + u) * ld));
    }
    for (; i < count; ++i) sums[0] += f(get(x + i * ld));
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  };
  const float each = 1.0f / static_cast<float>(count);
  const Vec rough = total([](Vec v) __attribute__((always_inline)) { return v; }) * each;
  const Vec block = rough + total([rough](Vec v) __attribute__((always_inline)) { return v - rough; }) * each;
  const Vec inner = total([block](Vec v) __attribute__((always_inline)) { return (v - block) * (v - block); });
  const float part = static_cast<float>(count) / static_cast<float>(done + count);
  const Vec delta = block - load(mean);
  store(mean, load(mean) + delta * part);
  store(squares, load(squares) + inner + delta * delta * (static_cast<float>(done) * part));
}

void channel_statistics(const Element* x, int64_t ld, int64_t pixels, int64_t c, float* mean, float* squares) {
  for (int64_t i = 0; i < padded(c); ++i) mean[i] = squares[i] = 0;
  for (int64_t done = 0; done < pixels; done += kBlock) {
    const int64_t count = pixels - done < kBlock ? pixels - done : kBlock;
    const Element* block = x + done * ld;
    int64_t i = 0;
    for (; i + kLanes <= c; i += kLanes)
      merge(block + i, ld, count, done, mean + i, squares + i,
            [](const Element* p) __attribute__((always_inline)) { return load(p); });
    const int64_t rest = c - i;
    if (rest > 0)
      merge(block + i, ld, count, done, mean + i, squares + i,
            [rest](const Element* p) __attribute__((always_inline)) { return load_first(p, rest); });
  }
}

// From the statistics of channels to the mean of each one's group and the factor of its deviation.
void group_statistics(const GroupNormParams& p, const float* w, int64_t c, float* mean, float* squares) {
  const int64_t width = p.c / p.groups;
  const double pixels = static_cast<double>(p.pixels);
  for (int64_t first = 0; first < c; first += width) {
    double sum = 0, all = 0;
    for (int64_t i = first; i < first + width; ++i) sum += mean[i];
    const double middle = sum / static_cast<double>(width);
    for (int64_t i = first; i < first + width; ++i)
      all += squares[i] + pixels * (mean[i] - middle) * (mean[i] - middle);
    const double factor = 1 / std::sqrt(all / (pixels * static_cast<double>(width)) + p.eps);
    for (int64_t i = first; i < first + width; ++i)
      mean[i] = static_cast<float>(middle), squares[i] = static_cast<float>(factor * (w ? w[i] : 1.0));
  }
}

// One expression for whole vectors and rests: a worker's part begins anywhere, and results must not depend on it.
PYCNN_INLINE Vec normalised(Vec x, Vec mean, Vec factor, Vec shift, Vec lo, Vec hi) {
  return at_most(at_least((x - mean) * factor + shift, lo), hi);
}

void normalise(const Element* x, const float* mean, const float* factor, const float* shift, Element* y, int64_t c,
               Vec lo, Vec hi) {
  int64_t i = 0;
  for (; i + kLanes <= c; i += kLanes)
    store(y + i, normalised(load(x + i), load(mean + i), load(factor + i), load(shift + i), lo, hi));
  const int64_t rest = c - i;
  if (rest > 0)
    store_first(y + i, normalised(load_first(x + i, rest), load(mean + i), load(factor + i), load(shift + i), lo, hi),
                rest);
}

// The groups' channels of one image, `c` of them from `first` on.
void image(const GroupNormParams& p, const Ptrs& ptrs, int64_t n, int64_t first, int64_t c, Range pixels,
           float* scratch) {
  float *mean = scratch, *factor = mean + padded(p.c), *shift = factor + padded(p.c);
  const Element* x = ptrs.x + n * p.pixels * p.ldx + first;
  Element* y = ptrs.y + n * p.pixels * p.ldy + first;
  channel_statistics(x, p.ldx, p.pixels, c, mean, factor);
  group_statistics(p, ptrs.w ? ptrs.w + first : nullptr, c, mean, factor);
  for (int64_t i = 0; i < c; ++i) shift[i] = ptrs.bias ? ptrs.bias[first + i] : 0.0f;
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
  for (int64_t i = pixels.begin; i < pixels.end; i += kRows) {
    const int64_t rows = pixels.end - i < kRows ? pixels.end - i : kRows;
    for (int64_t r = 0; r < rows; ++r)
      normalise(x + (i + r) * p.ldx, mean, factor, shift, y + (i + r) * p.ldy, c, lo, hi);
    if (!is_clamp(p.act)) activate_rows(y + i * p.ldy, p.ldy, rows, c, p.act, static_cast<float>(p.act_param));
  }
}

int64_t workspace(const GroupNormParams& p, int workers) { return 3 * padded(p.c) * workers; }

void run(const GroupNormParams& p, const Ptrs& ptrs, Worker worker) {
  const GroupNormShare mine = group_norm_share(p, worker);
  float* scratch = ptrs.workspace + 3 * padded(p.c) * worker.id;
  const int64_t width = p.c / p.groups;
  for (int64_t item = mine.groups.begin; item < mine.groups.end;) {
    const int64_t n = item / p.groups, group = item % p.groups, left = mine.groups.end - item;
    const int64_t groups = p.groups - group < left ? p.groups - group : left;
    image(p, ptrs, n, group * width, groups * width, mine.pixels, scratch);
    item += groups;
  }
}

const char* why_not(const GroupNormParams& p, const Machine& m) {
  return p.planar ? "channels are not adjacent" : why_not_here(m);
}

}  // namespace

extern const KernelOf<GroupNormParams> group_norm_maps{
    "group_norm_maps_" PYCNN_KERNEL_SUFFIX, why_not, group_norm_packed_size, group_norm_pack, workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
