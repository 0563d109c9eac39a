// A strided copy: y[sum_a i_a * y_a] = x[sum_a i_a * x_a] for all 0 <= i_a < s_a, a = 0 .. 7; strides in elements.
// A permutation, a change of shape, a slice, an expansion (x stride 0), or several of them one after the other.
// Internal: what movements of elements in a plan become.
//
// Axes 0 .. 5 and blocks of axis 6 are shared among the workers; the caller makes axis 7 the one along which y is
// adjacent, and axis 6 the one along which x is, where that is another. No two indices name the same float of y.
#pragma once
#include "base/kernel.h"

namespace pycnn {

constexpr int kRearrangeAxes = 8;

struct RearrangeParams {
  int64_t size[kRearrangeAxes] = {1, 1, 1, 1, 1, 1, 1, 1};
  int64_t x[kRearrangeAxes] = {}, y[kRearrangeAxes] = {};
};

template <class Visit>
void visit_fields(RearrangeParams& p, Visit&& field) {
  field("s0", p.size[0]), field("s1", p.size[1]), field("s2", p.size[2]), field("s3", p.size[3]);
  field("s4", p.size[4]), field("s5", p.size[5]), field("s6", p.size[6]), field("s7", p.size[7]);
  field("x0", p.x[0]), field("x1", p.x[1]), field("x2", p.x[2]), field("x3", p.x[3]);
  field("x4", p.x[4]), field("x5", p.x[5]), field("x6", p.x[6]), field("x7", p.x[7]);
  field("y0", p.y[0]), field("y1", p.y[1]), field("y2", p.y[2]), field("y3", p.y[3]);
  field("y4", p.y[4]), field("y5", p.y[5]), field("y6", p.y[6]), field("y7", p.y[7]);
}

// Where the plane of axes 6 and 7 with the number `plane` of axes 0 .. 5 begins.
struct RearrangeOffsets {
  int64_t x = 0, y = 0;
};

static inline RearrangeOffsets rearrange_plane(const RearrangeParams& p, int64_t plane) {
  RearrangeOffsets at;
  for (int a = kRearrangeAxes - 3; a >= 0; --a) {
    const int64_t i = plane % p.size[a];
    plane /= p.size[a];
    at.x += i * p.x[a], at.y += i * p.y[a];
  }
  return at;
}

static inline int64_t rearrange_planes(const RearrangeParams& p) {
  int64_t planes = 1;
  for (int a = 0; a < kRearrangeAxes - 2; ++a) planes *= p.size[a];
  return planes;
}

using RearrangeKernel = Kernel<RearrangeParams>;
KernelList<RearrangeParams> rearrange_kernels();

}  // namespace pycnn
