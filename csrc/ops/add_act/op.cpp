// torch.ops.pycnn.add_act: equal shapes; the result has the strides torch's elementwise ops give for x alone
// (pycnn/ops/add_act.py brings x in the order torch would choose for both).
#include "ops/add_act/add_act.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "add_act";

struct Input {
  Tensor tensor;
  door::Rows rows;
};

Input copied(const Tensor& t, const Tensor& y) {
  Tensor copy = torch::stable::empty_like(y);
  torch::stable::copy_(copy, t);
  return {copy, {y.numel(), y.numel()}};
}

// t itself where it lies in y's order, else a copy that does.
Input read(const Tensor& t, const Tensor& y) {
  const door::Rows rows = door::rows_along(t, y);
  return rows.c != 0 ? Input{t, rows} : copied(t, y);
}

bool has_gaps(const Input& input) { return input.rows.ld != input.rows.c; }

Tensor add_act(const Tensor& x, const Tensor& residual, int64_t act, double act_param, std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, x.dim());
  door::check_float_cpu(kOp, "residual", residual, x.dim());
  for (int64_t d = 0; d < x.dim(); ++d)
    STD_TORCH_CHECK(x.size(d) == residual.size(d), kOp, ": dimension ", d, " of x is ", x.size(d), ", of residual ",
                    residual.size(d));
  STD_TORCH_CHECK(act >= 0 && act < kActCount, kOp, ": unknown activation ", act);
  Tensor y = door::empty_elementwise(x);
  if (y.numel() == 0) return y;

  const Input a = read(x, y);
  Input b = read(residual, y);
  if (has_gaps(a) && has_gaps(b) && a.rows.c != b.rows.c) b = copied(residual, y);
  const int64_t c = a.rows.c < b.rows.c ? a.rows.c : b.rows.c;
  AddActParams p;
  p.pixels = y.numel() / c, p.c = c, p.ldy = c;
  p.ldx = has_gaps(a) ? a.rows.ld : c;
  p.ldr = has_gaps(b) ? b.rows.ld : c;
  p.act = static_cast<Act>(act), p.act_param = act_param;
  Ptrs ptrs;
  ptrs.x = door::floats(a.tensor), ptrs.residual = door::floats(b.tensor);
  ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, add_act_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(y.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("add_act(Tensor x, Tensor residual, int act, float act_param, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("add_act", TORCH_BOX(&add_act)); }

}  // namespace pycnn
