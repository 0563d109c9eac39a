// torch.ops.pycnn.softmax: over the last dimension; the result is contiguous.
#include "ops/softmax/softmax.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "softmax";

Tensor softmax(const Tensor& x, std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, x.dim());
  STD_TORCH_CHECK(x.dim() > 0, kOp, ": x has no dimension");
  Tensor y = torch::stable::new_empty(x, x.sizes());
  if (y.numel() == 0) return y;
  SoftmaxParams p;
  p.c = p.ldy = x.size(x.dim() - 1), p.pixels = x.numel() / p.c;
  Tensor rows = x;
  p.ldx = door::last_rows(x);
  if (p.ldx == 0) rows = torch::stable::contiguous(x), p.ldx = p.c;
  Ptrs ptrs;
  ptrs.x = door::floats(rows), ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, softmax_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(16.0 * static_cast<double>(x.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) { m.def("softmax(Tensor x, str kernel) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("softmax", TORCH_BOX(&softmax)); }

}  // namespace pycnn
