// torch.ops.pycnn.group_norm: [n, c, ...]; NCHW and NHWC are read where they lie, the result has x's format.
#include "ops/group_norm/group_norm.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "group_norm";

Tensor group_norm(const Tensor& x, std::optional<Tensor> weight, std::optional<Tensor> bias, int64_t groups, double eps,
                  int64_t act, double act_param, std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, x.dim());
  STD_TORCH_CHECK(x.dim() > 1, kOp, ": x has ", x.dim(), " dimensions, expected at least 2");
  STD_TORCH_CHECK(act >= 0 && act < kActCount, kOp, ": unknown activation ", act);
  GroupNormParams p;
  p.n = x.size(0), p.c = x.size(1), p.groups = groups, p.eps = eps;
  p.act = static_cast<Act>(act), p.act_param = act_param;
  STD_TORCH_CHECK(groups > 0 && p.c % groups == 0, kOp, ": groups=", groups, " does not divide c=", p.c);
  Tensor weight_keep, bias_keep;
  Ptrs ptrs;
  ptrs.w = door::read_vector(kOp, "weight", weight, p.c, weight_keep);
  ptrs.bias = door::read_vector(kOp, "bias", bias, p.c, bias_keep);
  const bool last = x.dim() == 4 && !x.is_contiguous() && door::suggests_channels_last(x);
  const Tensor y =
      last ? door::empty_nhwc(x, p.n, p.c, x.size(2), x.size(3), true) : torch::stable::new_empty(x, x.sizes());
  if (y.numel() == 0) return y;

  p.pixels = x.numel() / (p.n * p.c), p.planar = !last;
  door::Map map;
  Tensor kept;
  if (last) {
    map = door::read_map(kOp, "x", x);
    ptrs.x = map.data, p.ldx = map.ld, p.ldy = p.c;
  } else {
    kept = torch::stable::contiguous(x);
    ptrs.x = door::floats(kept), p.ldx = p.ldy = p.pixels;
  }
  ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, group_norm_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(x.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def(
      "group_norm(Tensor x, Tensor? weight, Tensor? bias, int groups, float eps, int act, float act_param, str kernel) "
      "-> "
      "Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("group_norm", TORCH_BOX(&group_norm)); }

}  // namespace pycnn
