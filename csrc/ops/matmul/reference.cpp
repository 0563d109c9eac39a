#include "ops/matmul/simd.h"

namespace pycnn {
namespace {

void run(const MatMulParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(matmul_batch(p) * p.m, worker);
  for (int64_t item = rows.begin; item < rows.end; ++item) {
    const int64_t entry = item / p.m, i = item % p.m;
    const float* a = ptrs.x + matmul_start(p, p.a, entry) + i * p.am;
    const float* b = ptrs.residual + matmul_start(p, p.b, entry);
    const float* r = ptrs.w ? ptrs.w + matmul_start(p, p.r, entry) + i * p.rm : nullptr;
    float* y = ptrs.y + matmul_start(p, p.y, entry) + i * p.ym;
    for (int64_t j = 0; j < p.k; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < p.c; ++c) sum += static_cast<double>(a[c * p.ac]) * b[c * p.bc + j * p.bk];
      y[j * p.yk] = static_cast<float>(sum * p.scale + (r ? r[j * p.rk] : 0));
    }
  }
}

const char* why_not(const MatMulParams&, const Machine&) { return nullptr; }

}  // namespace

const MatMulKernel matmul_reference{
    "matmul_reference", why_not, no_weights<MatMulParams>, pack_nothing<MatMulParams>, no_workspace<MatMulParams>, run};

}  // namespace pycnn
