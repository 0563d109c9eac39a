// torch.ops.pycnn.local_response_norm: over the last dimension; the result is contiguous.
#include "ops/local_response_norm/local_response_norm.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "local_response_norm";

Tensor local_response_norm(const Tensor& x, int64_t size, double alpha, double beta, double k,
                           std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, x.dim());
  STD_TORCH_CHECK(x.dim() > 0, kOp, ": x has no dimension");
  STD_TORCH_CHECK(size > 0, kOp, ": size=", size, " is not positive");
  Tensor y = torch::stable::new_empty(x, x.sizes());
  if (y.numel() == 0) return y;
  LocalResponseNormParams p;
  p.c = p.ldy = x.size(x.dim() - 1), p.pixels = x.numel() / p.c;
  p.size = size, p.alpha = alpha, p.beta = beta, p.k = k;
  Tensor rows = x;
  p.ldx = door::last_rows(x);
  if (p.ldx == 0) rows = torch::stable::contiguous(x), p.ldx = p.c;
  Ptrs ptrs;
  ptrs.x = door::floats(rows), ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, local_response_norm_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(static_cast<double>((8 + size) * x.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("local_response_norm(Tensor x, int size, float alpha, float beta, float k, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("local_response_norm", TORCH_BOX(&local_response_norm)); }

}  // namespace pycnn
