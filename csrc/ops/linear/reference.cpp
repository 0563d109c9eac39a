#include <cstring>

#include "base/act_reference.h"
#include "ops/linear/simd.h"

namespace pycnn {
namespace {

int64_t packed_size(const LinearParams& p) { return p.k * p.c; }

void pack(const LinearParams& p, const float* w, float* packed) {
  std::memcpy(packed, w, static_cast<size_t>(packed_size(p)) * sizeof(float));
}

void run(const LinearParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.m, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    for (int64_t k = 0; k < p.k; ++k) {
      double v = ptrs.bias ? ptrs.bias[k] : 0.0;
      if (ptrs.residual) v += ptrs.residual[i * p.ldr + k];
      for (int64_t c = 0; c < p.c; ++c) v += double(ptrs.x[i * p.ldx + c]) * ptrs.w[k * p.c + c];
      ptrs.y[i * p.ldy + k] = static_cast<float>(act_reference(v, p.act, p.act_param));
    }
}

const char* why_not(const LinearParams&, const Machine&) { return nullptr; }

}  // namespace

extern const LinearKernel linear_reference{"linear_reference",         why_not, packed_size, pack,
                                           no_workspace<LinearParams>, run};

}  // namespace pycnn
