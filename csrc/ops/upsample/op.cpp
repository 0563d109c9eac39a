// torch.ops.pycnn.upsample: [n, c, h, w] -> [n, c, oh, ow]. Arguments are checked in full by pycnn/ops/upsample.py; what is
// checked here keeps memory safe.
#include "ops/upsample/upsample.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "upsample";

Tensor upsample(const Tensor& x, int64_t mode, int64_t oh, int64_t ow, double factor_h, double factor_w,
                std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, 4);
  STD_TORCH_CHECK(mode >= 0 && mode <= 2, kOp, ": mode is 0 (nearest), 1 (bilinear) or 2 (bilinear, aligned), got ",
                  mode);
  UpsampleParams p;
  p.mode = static_cast<UpsampleMode>(mode);
  p.n = x.size(0), p.c = x.size(1), p.h = x.size(2), p.w = x.size(3), p.ldy = p.c;
  p.oh = oh, p.ow = ow, p.factor_h = factor_h, p.factor_w = factor_w;
  STD_TORCH_CHECK(p.c > 0 && p.h > 0 && p.w > 0 && oh > 0 && ow > 0, kOp, ": a size is not positive: x is [", p.n, ", ",
                  p.c, ", ", p.h, ", ", p.w, "], the result ", oh, " x ", ow);
  const bool channels_last = door::suggests_channels_last(x);
  const Tensor y = door::empty_nhwc(x, p.n, p.c, oh, ow, channels_last);
  if (y.numel() == 0) return door::in_format(y, channels_last);

  const door::Map map = door::read_map(kOp, "x", x);
  p.ldx = map.ld;
  Ptrs ptrs;
  ptrs.x = map.data, ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, upsample_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(y.numel())), Backend::kOpenMP);
  return door::in_format(y, channels_last);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("upsample(Tensor x, int mode, int oh, int ow, float factor_h, float factor_w, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("upsample", TORCH_BOX(&upsample)); }

}  // namespace pycnn
