#include <cstring>

#include "base/act_reference.h"
#include "ops/conv_transpose2d/simd.h"

namespace pycnn {
namespace {

int64_t packed_size(const ConvTranspose2dParams& p) { return p.c * p.group_k() * p.kh * p.kw; }

void pack(const ConvTranspose2dParams& p, const float* w, float* packed) {
  std::memcpy(packed, w, static_cast<size_t>(packed_size(p)) * sizeof(float));
}

double sum(const ConvTranspose2dParams& p, const Ptrs& ptrs, int64_t n, int64_t oy, int64_t ox, int64_t k) {
  const int64_t cs = p.group_c(), ks = p.group_k(), g = k / ks;
  double total = 0;
  for (int64_t i = 0; i < p.kh; ++i)
    for (int64_t j = 0; j < p.kw; ++j) {
      const int64_t y = oy + p.ph - i * p.dh, x = ox + p.pw - j * p.dw;
      if (y < 0 || y % p.sh != 0 || y / p.sh >= p.h || x < 0 || x % p.sw != 0 || x / p.sw >= p.w) continue;
      const float* pixel = ptrs.x + ((n * p.h + y / p.sh) * p.w + x / p.sw) * p.ldx + g * cs;
      for (int64_t c = 0; c < cs; ++c)
        total += double(pixel[c]) * ptrs.w[(((g * cs + c) * ks + k - g * ks) * p.kh + i) * p.kw + j];
    }
  return total;
}

void run(const ConvTranspose2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range pixels = share(p.n * p.oh * p.ow, worker);
  for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
    const int64_t ox = pixel % p.ow, oy = pixel / p.ow % p.oh, n = pixel / (p.ow * p.oh);
    for (int64_t k = 0; k < p.k; ++k) {
      const double v = sum(p, ptrs, n, oy, ox, k) + (ptrs.bias ? ptrs.bias[k] : 0.0);
      ptrs.y[pixel * p.ldy + k] = static_cast<float>(act_reference(v, p.act, p.act_param));
    }
  }
}

const char* why_not(const ConvTranspose2dParams&, const Machine&) { return nullptr; }

}  // namespace

extern const ConvTranspose2dKernel conv_transpose2d_reference{
    "conv_transpose2d_reference", why_not, packed_size, pack, no_workspace<ConvTranspose2dParams>, run};

}  // namespace pycnn
