// Rows are a few hundred bytes: whole vectors inline beat a call of memcpy for each.
#include "base/simd/element.h"
#include "ops/concat/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

void run(const ConcatParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const Element* x = ptrs.x + i * p.ldx;
    Element* y = ptrs.y + i * p.ldy;
    int64_t c = 0;
    for (; c + kLanes <= p.c; c += kLanes) store(y + c, load(x + c));
    if (c < p.c) store_first(y + c, load_first(x + c, p.c - c), p.c - c);
  }
}

const char* why_not(const ConcatParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<ConcatParams> concat_copy{"concat_copy_" PYCNN_KERNEL_SUFFIX, why_not,
                                                no_weights<ConcatParams>,           pack_nothing<ConcatParams>,
                                                no_workspace<ConcatParams>,         run};

}  // namespace pycnn::PYCNN_ISA_NS
