#include "ops/global_pool/simd.h"

namespace pycnn {
namespace {

void run(const GlobalPoolParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.n, worker);
  for (int64_t n = rows.begin; n < rows.end; ++n)
    for (int64_t c = 0; c < p.c; ++c) {
      double sum = 0;
      for (int64_t pixel = 0; pixel < p.pixels(); ++pixel) sum += ptrs.x[(n * p.pixels() + pixel) * p.ldx + c];
      ptrs.y[n * p.ldy + c] = static_cast<float>(sum / static_cast<double>(p.pixels()));
    }
}

const char* why_not(const GlobalPoolParams&, const Machine&) { return nullptr; }

}  // namespace

const GlobalPoolKernel global_pool_reference{"global_pool_reference",        why_not,
                                             no_weights<GlobalPoolParams>,   pack_nothing<GlobalPoolParams>,
                                             no_workspace<GlobalPoolParams>, run};

}  // namespace pycnn
