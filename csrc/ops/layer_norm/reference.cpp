#include <cmath>

#include "ops/layer_norm/simd.h"

namespace pycnn {
namespace {

void run(const LayerNormParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float* x = ptrs.x + i * p.ldx;
    double sum = 0, squares = 0;
    for (int64_t c = 0; c < p.c; ++c) sum += x[c];
    const double mean = sum / static_cast<double>(p.c);
    for (int64_t c = 0; c < p.c; ++c) squares += (x[c] - mean) * (x[c] - mean);
    const double scale = 1 / std::sqrt(squares / static_cast<double>(p.c) + p.eps);
    for (int64_t c = 0; c < p.c; ++c) {
      const double weight = ptrs.w ? ptrs.w[c] : 1, bias = ptrs.bias ? ptrs.bias[c] : 0;
      ptrs.y[i * p.ldy + c] = static_cast<float>((x[c] - mean) * scale * weight + bias);
    }
  }
}

const char* why_not(const LayerNormParams&, const Machine&) { return nullptr; }

}  // namespace

const LayerNormKernel layer_norm_reference{
    "layer_norm_reference", why_not, layer_norm_packed_size, layer_norm_pack, no_workspace<LayerNormParams>, run};

}  // namespace pycnn
