// Pixels adjacent, as in contiguous NCHW and [n, c, l]: a group is c / groups rows. Pieces of a row are summed twice, the
// second time from L1, and merged in double.
#include <cmath>

#include "base/simd/activate.h"
#include "base/simd/gemm.h"
#include "base/simd/reduce.h"
#include "ops/group_norm/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kPiece = 2048;  // floats

struct Statistics {
  double count = 0, mean = 0, squares = 0;
};

void merge(Statistics& all, const Element* x, int64_t n) {
  const float mean = mean_row(x, n);
  const float squares = sum_row(x, n, [mean](Vec v) __attribute__((always_inline)) { return (v - mean) * (v - mean); });
  const double count = static_cast<double>(n), delta = mean - all.mean, part = count / (all.count + count);
  all.squares += squares + delta * delta * all.count * part;
  all.mean += delta * part;
  all.count += count;
}

void normalise(const GroupNormParams& p, const Element* x, float mean, float factor, float shift, Element* y,
               int64_t n) {
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
  const auto normalised = [&](Vec v) __attribute__((always_inline)) {
    return at_most(at_least((v - mean) * factor + shift, lo), hi);
  };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, normalised(load(x + i)));
  if (i < n) store_first(y + i, normalised(load_first(x + i, n - i)), n - i);
  if (!is_clamp(p.act)) activate_rows(y, n, 1, n, p.act, static_cast<float>(p.act_param));
}

void run(const GroupNormParams& p, const Ptrs& ptrs, Worker worker) {
  const GroupNormShare mine = group_norm_share(p, worker);
  const int64_t width = p.c / p.groups;
  for (int64_t item = mine.groups.begin; item < mine.groups.end; ++item) {
    const int64_t image = item / p.groups, first = item % p.groups * width;
    Statistics all;
    for (int64_t c = first; c < first + width; ++c) {
      const Element* row = ptrs.x + (image * p.c + c) * p.ldx;
      for (int64_t i = 0; i < p.pixels; i += kPiece) merge(all, row + i, p.pixels - i < kPiece ? p.pixels - i : kPiece);
    }
    const double factor = 1 / std::sqrt(all.squares / all.count + p.eps);
    for (int64_t c = first; c < first + width; ++c) {
      const Element* x = ptrs.x + (image * p.c + c) * p.ldx;
      const float shift = ptrs.bias ? ptrs.bias[c] : 0.0f;
      Element* y = ptrs.y + (image * p.c + c) * p.ldy;
      for (int64_t i = mine.pixels.begin; i < mine.pixels.end; i += kPiece) {
        const int64_t n = mine.pixels.end - i < kPiece ? mine.pixels.end - i : kPiece;
        normalise(p, x + i, static_cast<float>(all.mean), static_cast<float>(factor * (ptrs.w ? ptrs.w[c] : 1.0)),
                  shift, y + i, n);
      }
    }
  }
}

const char* why_not(const GroupNormParams& p, const Machine& m) {
  return p.planar ? why_not_here(m) : "pixels are not adjacent";
}

}  // namespace

extern const KernelOf<GroupNormParams> group_norm_planar{"group_norm_planar_" PYCNN_KERNEL_SUFFIX,
                                                         why_not,
                                                         group_norm_packed_size,
                                                         group_norm_pack,
                                                         no_workspace<GroupNormParams>,
                                                         run};

}  // namespace pycnn::PYCNN_ISA_NS
