// torch.ops.pycnn.elementwise: any shape; the result has the strides torch's own elementwise ops give.
#include "ops/elementwise/elementwise.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "elementwise";

Tensor elementwise(const Tensor& x, int64_t act, double act_param, std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, x.dim());
  STD_TORCH_CHECK(act >= 0 && act < kActCount, kOp, ": unknown activation ", act);
  Tensor y = door::empty_elementwise(x);
  if (y.numel() == 0) return y;

  Tensor kept = x;
  door::Rows rows = door::rows_along(x, y);
  if (rows.c == 0) {
    kept = torch::stable::empty_like(y);
    torch::stable::copy_(kept, x);
    rows = {y.numel(), y.numel()};
  }
  ElementwiseParams p;
  p.pixels = y.numel() / rows.c, p.c = rows.c, p.ldx = rows.ld, p.ldy = rows.c;
  p.act = static_cast<Act>(act), p.act_param = act_param;
  Ptrs ptrs;
  ptrs.x = door::floats(kept);
  ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, elementwise_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(y.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("elementwise(Tensor x, int act, float act_param, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("elementwise", TORCH_BOX(&elementwise)); }

}  // namespace pycnn
