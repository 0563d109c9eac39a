// One row at a time, which stays in L1 between its passes: the largest, the exponentials and their sum, the quotient.
#include "base/simd/softmax.h"
#include "ops/softmax/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

void run(const SoftmaxParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* x = ptrs.x + i * p.ldx;
    float* y = ptrs.y + i * p.ldy;
    scale_row(y, p.c, 1 / exponentials(x, y, p.c, 1, largest(x, p.c, 1)));
  }
}

const char* why_not(const SoftmaxParams&, const Machine& m) { return why_not_isa(kIsa, m); }

}  // namespace

extern const SoftmaxKernel softmax_rows{
    "softmax_rows_f32_" PYCNN_ISA_SUFFIX, why_not, no_weights<SoftmaxParams>, pack_nothing<SoftmaxParams>,
    no_workspace<SoftmaxParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
