#include <cmath>
#include <vector>

#include "ops/attention/simd.h"

namespace pycnn {
namespace {

void row(const AttentionParams& p, const float* q, const float* k, const float* v, float* y) {
  std::vector<double> scores(static_cast<size_t>(p.s));
  double most = -INFINITY, sum = 0;
  for (int64_t j = 0; j < p.s; ++j) {
    double dot = 0;
    for (int64_t i = 0; i < p.d; ++i) dot += static_cast<double>(q[i]) * k[j * p.ldk + i];
    const double score = scores[j] = dot * p.scale;
    most = score > most || score != score ? score : most;
  }
  for (double& score : scores) sum += score = std::exp(score - most);
  for (int64_t i = 0; i < p.dv; ++i) {
    double total = 0;
    for (int64_t j = 0; j < p.s; ++j) total += scores[j] * v[j * p.ldv + i];
    y[i] = static_cast<float>(total / sum);
  }
}

void run(const AttentionParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.n * p.heads * p.l, worker);
  for (int64_t item = rows.begin; item < rows.end; ++item) {
    const int64_t n = item / (p.heads * p.l), head = item / p.l % p.heads, i = item % p.l;
    row(p, ptrs.x + (n * p.l + i) * p.ldq + head * p.d, ptrs.residual + n * p.s * p.ldk + head * p.d,
        ptrs.w + n * p.s * p.ldv + head * p.dv, ptrs.y + (n * p.l + i) * p.ldy + head * p.dv);
  }
}

const char* why_not(const AttentionParams&, const Machine&) { return nullptr; }

}  // namespace

const AttentionKernel attention_reference{"attention_reference",         why_not,
                                          no_weights<AttentionParams>,   pack_nothing<AttentionParams>,
                                          no_workspace<AttentionParams>, run};

}  // namespace pycnn
