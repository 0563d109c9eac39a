#include "base/act_reference.h"
#include "ops/add_act/simd.h"

namespace pycnn {
namespace {

void run(const AddActParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t c = 0; c < p.c; ++c) {
      const double sum = double(ptrs.x[i * p.ldx + c]) + ptrs.residual[i * p.ldr + c];
      ptrs.y[i * p.ldy + c] = static_cast<float>(act_reference(sum, p.act, p.act_param));
    }
}

const char* why_not(const AddActParams&, const Machine&) { return nullptr; }

}  // namespace

const AddActKernel add_act_reference{"add_act_reference",        why_not,
                                     no_weights<AddActParams>,   pack_nothing<AddActParams>,
                                     no_workspace<AddActParams>, run};

}  // namespace pycnn
