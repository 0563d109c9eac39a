#include <cmath>
#include <limits>

#include "ops/pool2d/simd.h"
#include "ops/pool2d/taps.h"

namespace pycnn {
namespace {

float window(const Pool2dParams& p, const float* image, const PoolTaps& rows, const PoolTaps& columns) {
  double sum = 0, most = -std::numeric_limits<double>::infinity();
  const int64_t dh = p.adaptive() ? 1 : p.dh, dw = p.adaptive() ? 1 : p.dw;
  for (int64_t i = 0; i < rows.count; ++i)
    for (int64_t j = 0; j < columns.count; ++j) {
      const double v = image[((rows.first + i * dh) * p.w + columns.first + j * dw) * p.ldx];
      sum += v;
      if (v > most || std::isnan(v)) most = v;
    }
  if (p.max()) return static_cast<float>(most);
  if (rows.count * columns.count == 0) return 0;
  return static_cast<float>(sum / static_cast<double>(pool_divisor(p, rows, columns)));
}

void run(const Pool2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range pixels = share(p.n * p.oh * p.ow, worker);
  for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
    const PoolTaps columns = pool_taps(pool_columns(p), pixel % p.ow);
    const PoolTaps rows = pool_taps(pool_rows(p), pixel / p.ow % p.oh);
    const float* image = ptrs.x + pixel / (p.ow * p.oh) * p.h * p.w * p.ldx;
    for (int64_t c = 0; c < p.c; ++c) ptrs.y[pixel * p.ldy + c] = window(p, image + c, rows, columns);
  }
}

const char* why_not(const Pool2dParams&, const Machine&) { return nullptr; }

}  // namespace

const Pool2dKernel pool2d_reference{
    "pool2d_reference", why_not, no_weights<Pool2dParams>, pack_nothing<Pool2dParams>, no_workspace<Pool2dParams>, run};

}  // namespace pycnn
