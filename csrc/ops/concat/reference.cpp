#include "ops/concat/simd.h"

namespace pycnn {
namespace {

void run(const ConcatParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t c = 0; c < p.c; ++c) ptrs.y[i * p.ldy + c] = ptrs.x[i * p.ldx + c];
}

const char* why_not(const ConcatParams&, const Machine&) { return nullptr; }

}  // namespace

const ConcatKernel concat_reference{
    "concat_reference", why_not, no_weights<ConcatParams>, pack_nothing<ConcatParams>, no_workspace<ConcatParams>, run};

}  // namespace pycnn
