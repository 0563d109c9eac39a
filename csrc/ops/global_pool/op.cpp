// torch.ops.pycnn.global_pool: [n, c, h, w] -> [n, c, 1, 1].
#include "ops/global_pool/global_pool.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "global_pool";

Tensor global_pool(const Tensor& x, std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, 4);
  GlobalPoolParams p;
  p.n = x.size(0), p.c = x.size(1), p.h = x.size(2), p.w = x.size(3), p.ldy = p.c;
  const bool channels_last = door::suggests_channels_last(x);
  const Tensor y = door::empty_nhwc(x, p.n, p.c, 1, 1, channels_last);
  if (y.numel() == 0) return y;

  const door::Map map = door::read_map(kOp, "x", x);
  p.ldx = map.ld;
  Ptrs ptrs;
  ptrs.x = map.data, ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, global_pool_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(x.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) { m.def("global_pool(Tensor x, str kernel) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("global_pool", TORCH_BOX(&global_pool)); }

}  // namespace pycnn
