#include "ops/layout/simd.h"

namespace pycnn {
namespace {

void run(const LayoutParams& p, const Ptrs& ptrs, Worker worker) {
  const Range images = share(p.n, worker);
  for (int64_t n = images.begin; n < images.end; ++n)
    for (int64_t pixel = 0; pixel < p.pixels; ++pixel)
      for (int64_t c = 0; c < p.c; ++c) {
        const int64_t nchw = (n * p.c + c) * p.pixels + pixel, nhwc = (n * p.pixels + pixel) * p.ld + c;
        if (p.to_nchw)
          ptrs.y[nchw] = ptrs.x[nhwc];
        else
          ptrs.y[nhwc] = ptrs.x[nchw];
      }
}

const char* why_not(const LayoutParams&, const Machine&) { return nullptr; }

}  // namespace

extern const LayoutKernel layout_reference{
    "layout_reference", why_not, no_weights<LayoutParams>, pack_nothing<LayoutParams>, no_workspace<LayoutParams>, run};

}  // namespace pycnn
