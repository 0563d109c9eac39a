#include <cmath>

#include "ops/softmax/simd.h"

namespace pycnn {
namespace {

void run(const SoftmaxParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* x = ptrs.x + i * p.ldx;
    float* y = ptrs.y + i * p.ldy;
    double most = x[0], sum = 0;
    for (int64_t c = 1; c < p.c; ++c) most = x[c] > most || x[c] != x[c] ? x[c] : most;
    for (int64_t c = 0; c < p.c; ++c) sum += std::exp(x[c] - most);
    for (int64_t c = 0; c < p.c; ++c) y[c] = static_cast<float>(std::exp(x[c] - most) / sum);
  }
}

const char* why_not(const SoftmaxParams&, const Machine&) { return nullptr; }

}  // namespace

const SoftmaxKernel softmax_reference{"softmax_reference",         why_not,
                                      no_weights<SoftmaxParams>,   pack_nothing<SoftmaxParams>,
                                      no_workspace<SoftmaxParams>, run};

}  // namespace pycnn
