// torch.ops.pycnn.linear: shapes are checked in full by pycnn/ops/linear.py; what is checked here keeps memory safe.
#include "ops/linear/linear.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "linear";

// x: [m, c]; residual: [m, k]. The Python side flattens leading dimensions.
Tensor linear(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
              const std::optional<Tensor>& residual, int64_t act, double act_param, std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, 2);
  door::check_float_cpu(kOp, "weight", weight, 2);
  STD_TORCH_CHECK(act >= 0 && act < kActCount, kOp, ": unknown activation ", act);
  LinearParams p;
  p.m = x.size(0), p.c = x.size(1), p.k = weight.size(0);
  STD_TORCH_CHECK(weight.size(1) == p.c, kOp, ": weight takes ", weight.size(1), " features, x has ", p.c);
  STD_TORCH_CHECK(p.c > 0 && p.k > 0, kOp, ": empty weight");
  p.act = static_cast<Act>(act), p.act_param = act_param, p.ldx = p.c, p.ldy = p.k, p.ldr = p.k;
  const std::vector<int64_t> sizes{p.m, p.k};
  const Tensor y = torch::stable::new_empty(x, sizes);
  if (y.numel() == 0) return y;

  const Tensor rows = torch::stable::contiguous(x), w = torch::stable::contiguous(weight);
  Ptrs ptrs;
  ptrs.x = door::floats(rows);
  Tensor bias_kept, residual_kept;
  ptrs.bias = door::read_vector(kOp, "bias", bias, p.k, bias_kept);
  if (residual.has_value()) {
    door::check_float_cpu(kOp, "residual", *residual, 2);
    STD_TORCH_CHECK(residual->size(0) == p.m && residual->size(1) == p.k, kOp, ": residual is [", residual->size(0),
                    ", ", residual->size(1), "], the output [", p.m, ", ", p.k, "]");
    residual_kept = torch::stable::contiguous(*residual);
    ptrs.residual = door::floats(residual_kept);
  }
  const auto& kernel = door::choose(kOp, linear_kernels(), p, kernel_name);
  const Buffer packed(kernel.packed_size(p));
  kernel.pack(p, door::floats(w), packed.data());
  ptrs.w = packed.data();
  ptrs.y = door::mutable_floats(y);
  launch(kernel, p, ptrs, door::workers_for(double(p.m) * p.c * p.k), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def(
      "linear(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, int act, float act_param, str kernel) -> "
      "Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("linear", TORCH_BOX(&linear)); }

}  // namespace pycnn
