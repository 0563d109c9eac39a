#include "ops/rearrange/simd.h"

namespace pycnn {
namespace {

void run(const RearrangeParams& p, const Ptrs& ptrs, Worker worker) {
  const Range planes = share(rearrange_planes(p), worker);
  for (int64_t plane = planes.begin; plane < planes.end; ++plane) {
    const RearrangeOffsets at = rearrange_plane(p, plane);
    for (int64_t i = 0; i < p.size[6]; ++i)
      for (int64_t j = 0; j < p.size[7]; ++j)
        ptrs.y[at.y + i * p.y[6] + j * p.y[7]] = ptrs.x[at.x + i * p.x[6] + j * p.x[7]];
  }
}

const char* why_not(const RearrangeParams&, const Machine&) { return nullptr; }

}  // namespace

extern const RearrangeKernel rearrange_reference{"rearrange_reference",         why_not,
                                                 no_weights<RearrangeParams>,   pack_nothing<RearrangeParams>,
                                                 no_workspace<RearrangeParams>, run};

}  // namespace pycnn
