// A map at another size: y[n, oy, ox, c] from x[n, ., ., c], by nearest pixel or bilinear interpolation.
//
// nearest:  y = x[floor(oy * step)][floor(ox * step)]
// bilinear: y = sum over the 2 x 2 pixels around the source position of x * (1 - |distance|), the position being
//           (o + 0.5) * step - 0.5, not below 0; with aligned corners o * (in - 1) / (out - 1).
// step is in / out, or 1 / factor where the caller gave a factor. x: NHWC, pixel stride ldx; y: NHWC, pixel stride ldy, or contiguous NCHW.
#pragma once
#include "base/dtype.h"
#include "base/kernel.h"

namespace pycnn {

enum class UpsampleMode : int64_t { kNearest, kBilinear, kBilinearAligned };

struct UpsampleParams {
  UpsampleMode mode = UpsampleMode::kNearest;
  int64_t n = 1, h = 1, w = 1, c = 1, oh = 1, ow = 1;
  int64_t ldx = 0, ldy = 0;
  int64_t y_nchw = 0;
  double factor_h = 0, factor_w = 0;  // output over input size as the caller gave it; 0: from the sizes
};

template <class Visit>
void visit_fields(UpsampleParams& p, Visit&& field) {
  field("mode", p.mode), field("n", p.n), field("h", p.h), field("w", p.w), field("c", p.c), field("oh", p.oh);
  field("ow", p.ow), field("ldx", p.ldx), field("ldy", p.ldy), field("factor_h", p.factor_h);
  field("factor_w", p.factor_w), field("y_nchw", p.y_nchw);
}

// Source pixels an output pixel.
static PYCNN_HOST_DEVICE double upsample_step(UpsampleMode mode, int64_t in, int64_t out, double factor) {
  if (mode == UpsampleMode::kBilinearAligned)
    return out > 1 ? static_cast<double>(in - 1) / static_cast<double>(out - 1) : 0;
  return factor > 0 ? 1 / factor : static_cast<double>(in) / static_cast<double>(out);
}

// In fp32, as torch: which of two pixels is nearest depends on the rounding.
static PYCNN_HOST_DEVICE int64_t upsample_nearest(int64_t o, int64_t in, float step) {
  const int64_t i = static_cast<int64_t>(static_cast<float>(o) * step);
  return i < in ? i : in - 1;
}

// y = (1 - weight) * x[low] + weight * x[high]
struct UpsampleTap {
  int64_t low, high;
  float weight;
};

static PYCNN_HOST_DEVICE UpsampleTap upsample_tap(UpsampleMode mode, int64_t o, int64_t in, double step) {
  const double half = mode == UpsampleMode::kBilinearAligned ? 0 : 0.5;
  double at = (static_cast<double>(o) + half) * step - half;
  if (at < 0) at = 0;
  int64_t low = static_cast<int64_t>(at);
  if (low > in - 1) low = in - 1;
  const double weight = at - static_cast<double>(low);
  return {low, low + (low < in - 1 ? 1 : 0), static_cast<float>(weight < 1 ? weight : 1)};
}

using UpsampleKernel = Kernel<UpsampleParams>;
KernelList<UpsampleParams> upsample_kernels();

}  // namespace pycnn
