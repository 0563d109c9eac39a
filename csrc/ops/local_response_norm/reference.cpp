#include <cmath>

#include "ops/local_response_norm/simd.h"

namespace pycnn {
namespace {

void run(const LocalResponseNormParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* x = ptrs.x + i * p.ldx;
    for (int64_t c = 0; c < p.c; ++c) {
      double sum = 0;
      const int64_t first = c - p.size / 2;
      for (int64_t j = first < 0 ? 0 : first; j < first + p.size && j < p.c; ++j)
        sum += static_cast<double>(x[j]) * x[j];
      const double base = p.k + p.alpha * sum / static_cast<double>(p.size);
      ptrs.y[i * p.ldy + c] = static_cast<float>(x[c] / std::pow(base, p.beta));
    }
  }
}

const char* why_not(const LocalResponseNormParams&, const Machine&) { return nullptr; }

}  // namespace

const LocalResponseNormKernel local_response_norm_reference{
    "local_response_norm_reference",       why_not,
    no_weights<LocalResponseNormParams>,   pack_nothing<LocalResponseNormParams>,
    no_workspace<LocalResponseNormParams>, run};

}  // namespace pycnn
