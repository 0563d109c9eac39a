#include "ops/upsample/simd.h"

namespace pycnn {
namespace {

void run(const UpsampleParams& p, const Ptrs& ptrs, Worker worker) {
  const double step_h = upsample_step(p.mode, p.h, p.oh, p.factor_h);
  const double step_w = upsample_step(p.mode, p.w, p.ow, p.factor_w);
  const Range rows = share(p.n * p.oh, worker);
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t ox = 0; ox < p.ow; ++ox)
      for (int64_t c = 0; c < p.c; ++c) {
        const int64_t n = row / p.oh, oy = row % p.oh;
        const auto x = [&](int64_t i, int64_t j) -> double { return ptrs.x[((n * p.h + i) * p.w + j) * p.ldx + c]; };
        float& y = ptrs.y[p.y_nchw ? ((n * p.c + c) * p.oh + oy) * p.ow + ox : (row * p.ow + ox) * p.ldy + c];
        if (p.mode == UpsampleMode::kNearest) {
          y = static_cast<float>(x(upsample_nearest(oy, p.h, static_cast<float>(step_h)),
                                   upsample_nearest(ox, p.w, static_cast<float>(step_w))));
          continue;
        }
        const UpsampleTap v = upsample_tap(p.mode, oy, p.h, step_h), u = upsample_tap(p.mode, ox, p.w, step_w);
        const double top = (1.0 - u.weight) * x(v.low, u.low) + u.weight * x(v.low, u.high);
        const double bottom = (1.0 - u.weight) * x(v.high, u.low) + u.weight * x(v.high, u.high);
        y = static_cast<float>((1.0 - v.weight) * top + v.weight * bottom);
      }
}

const char* why_not(const UpsampleParams&, const Machine&) { return nullptr; }

}  // namespace

const UpsampleKernel upsample_reference{"upsample_reference",         why_not,
                                        no_weights<UpsampleParams>,   pack_nothing<UpsampleParams>,
                                        no_workspace<UpsampleParams>, run};

}  // namespace pycnn
