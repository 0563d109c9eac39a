// One row at a time, which stays in L1 between its passes: the largest, the exponentials and their sum, the quotient.
#include "base/simd/softmax.h"
#include "ops/softmax/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

// The exponentials of a row: where the result will be, unless that would round them.
int64_t scratch_floats(const SoftmaxParams& p) { return sizeof(Element) == sizeof(float) ? 0 : (p.c + 15) / 16 * 16; }
int64_t workspace(const SoftmaxParams& p, int workers) { return scratch_floats(p) * workers; }
template <class E>
float* between(const SoftmaxParams& p, const Ptrs& ptrs, E* y, Worker worker) {
  if constexpr (sizeof(E) == sizeof(float))
    return y;
  else
    return ptrs.workspace + scratch_floats(p) * worker.id;
}

void run(const SoftmaxParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Element* x = ptrs.x + i * p.ldx;
    Element* y = ptrs.y + i * p.ldy;
    float* raw = between(p, ptrs, y, worker);
    const float sum = exponentials(x, raw, p.c, 1, largest(x, p.c, 1));
    scale_row(raw, y, p.c, 1 / sum);
  }
}

const char* why_not(const SoftmaxParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<SoftmaxParams> softmax_rows{
    "softmax_rows_" PYCNN_KERNEL_SUFFIX, why_not,   no_weights<SoftmaxParams>,
    pack_nothing<SoftmaxParams>,         workspace, run};

}  // namespace pycnn::PYCNN_ISA_NS
