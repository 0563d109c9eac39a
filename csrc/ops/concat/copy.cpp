// Rows are a few hundred bytes: whole vectors inline beat a call of memcpy for each.
#include "base/simd/vec.h"
#include "ops/concat/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

void run(const ConcatParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* x = ptrs.x + i * p.ldx;
    float* y = ptrs.y + i * p.ldy;
    int64_t c = 0;
    for (; c + kLanes <= p.c; c += kLanes) store(y + c, load(x + c));
    if (c < p.c) store_first(y + c, load_first(x + c, p.c - c), p.c - c);
  }
}

const char* why_not(const ConcatParams&, const Machine& m) { return why_not_isa(kIsa, m); }

}  // namespace

extern const ConcatKernel concat_copy{
    "concat_copy_f32_" PYCNN_ISA_SUFFIX, why_not, no_weights<ConcatParams>, pack_nothing<ConcatParams>,
    no_workspace<ConcatParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
