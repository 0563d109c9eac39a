// y = act((x - mean) / sqrt(var + eps) * w[c] + bias[c]): mean and biased variance are those of an image's group of
// c / groups neighbouring channels over all its pixels.
//
// x, y: pixel p of image i begins at (i * pixels + p) * ld; with `planar` channel k of image i begins at (i * c + k) * ld
// and its pixels are adjacent. w and bias may be null (1 and 0).
#pragma once
#include "base/act.h"
#include "base/kernel.h"

namespace pycnn {

struct GroupNormParams {
  int64_t n = 1, pixels = 1, c = 1, groups = 1;
  int64_t planar = 0;
  int64_t ldx = 0, ldy = 0;
  double eps = 1e-5;
  Act act = Act::kNone;
  double act_param = 0.01;
};

template <class Visit>
void visit_fields(GroupNormParams& p, Visit&& field) {
  field("n", p.n), field("pixels", p.pixels), field("c", p.c), field("groups", p.groups), field("planar", p.planar);
  field("ldx", p.ldx), field("ldy", p.ldy), field("eps", p.eps);
  field("act", p.act), field("act_param", p.act_param);
}

static inline int64_t group_norm_packed_size(const GroupNormParams& p) { return p.c; }
static inline void group_norm_pack(const GroupNormParams& p, const float* w, float* packed) {
  for (int64_t c = 0; c < p.c; ++c) packed[c] = w[c];
}

// A worker's part: groups of all images, counted image by image, and the pixels it writes of them. Where there are more
// workers than groups several take the statistics of one, each for itself, and share its pixels.
struct GroupNormShare {
  Range groups, pixels;
};

static inline GroupNormShare group_norm_share(const GroupNormParams& p, Worker worker) {
  const int64_t all = p.n * p.groups;
  if (worker.count <= all) return {share(all, worker), {0, p.pixels}};
  const int total = static_cast<int>(all), group = worker.id % total;
  const int sharers = (worker.count - group + total - 1) / total;
  return {{group, group + 1}, share(p.pixels, {worker.id / total, sharers})};
}

using GroupNormKernel = Kernel<GroupNormParams>;
KernelList<GroupNormParams> group_norm_kernels();

}  // namespace pycnn
