#include "base/act_reference.h"
#include "ops/elementwise/simd.h"

namespace pycnn {
namespace {

void run(const ElementwiseParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t c = 0; c < p.c; ++c)
      ptrs.y[i * p.ldy + c] = static_cast<float>(act_reference(ptrs.x[i * p.ldx + c], p.act, p.act_param));
}

const char* why_not(const ElementwiseParams&, const Machine&) { return nullptr; }

}  // namespace

const ElementwiseKernel elementwise_reference{"elementwise_reference",         why_not,
                                              no_weights<ElementwiseParams>,   pack_nothing<ElementwiseParams>,
                                              no_workspace<ElementwiseParams>, run};

}  // namespace pycnn
