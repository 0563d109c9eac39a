// torch.ops.pycnn.layer_norm: over the last dimension; the result is contiguous.
#include "ops/layer_norm/layer_norm.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "layer_norm";

Tensor layer_norm(const Tensor& x, std::optional<Tensor> weight, std::optional<Tensor> bias, double eps,
                  std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, x.dim());
  STD_TORCH_CHECK(x.dim() > 0, kOp, ": x has no dimension");
  Tensor y = torch::stable::new_empty(x, x.sizes());
  LayerNormParams p;
  p.c = x.size(x.dim() - 1), p.ldy = p.c, p.eps = eps;
  Tensor weight_keep, bias_keep;
  Ptrs ptrs;
  ptrs.w = door::read_vector(kOp, "weight", weight, p.c, weight_keep);
  ptrs.bias = door::read_vector(kOp, "bias", bias, p.c, bias_keep);
  if (y.numel() == 0) return y;

  Tensor rows = x;
  p.ldx = door::last_rows(x);
  if (p.ldx == 0) rows = torch::stable::contiguous(x), p.ldx = p.c;
  p.pixels = x.numel() / p.c;
  ptrs.x = door::floats(rows), ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, layer_norm_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(x.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("layer_norm(Tensor x, Tensor? weight, Tensor? bias, float eps, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("layer_norm", TORCH_BOX(&layer_norm)); }

}  // namespace pycnn
