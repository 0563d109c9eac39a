// torch.ops.pycnn.attention: q [n, l, heads * d], k [n, s, heads * d], v [n, s, heads * dv] -> [n, l, heads * dv], contiguous.
#include "ops/attention/attention.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "attention";

// The tensor, or its contiguous copy, and the distance of its rows.
int64_t read_rows(const char* name, const Tensor& t, Tensor& keep) {
  door::check_float_cpu(kOp, name, t, 3);
  keep = t;
  int64_t ld = door::last_rows(t);
  if (ld == 0) keep = torch::stable::contiguous(t), ld = t.size(2);
  return ld;
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, int64_t heads, double scale,
                 std::string kernel_name) {
  AttentionParams p;
  Tensor q_keep, k_keep, v_keep;
  p.ldq = read_rows("q", q, q_keep), p.ldk = read_rows("k", k, k_keep), p.ldv = read_rows("v", v, v_keep);
  STD_TORCH_CHECK(heads > 0 && q.size(2) % heads == 0 && v.size(2) % heads == 0, kOp, ": heads=", heads,
                  " does not divide the channels");
  STD_TORCH_CHECK(k.size(2) == q.size(2) && k.size(1) == v.size(1) && k.size(0) == q.size(0) && v.size(0) == q.size(0),
                  kOp, ": shapes of q, k and v do not fit");
  p.n = q.size(0), p.heads = heads, p.l = q.size(1), p.s = k.size(1), p.d = q.size(2) / heads, p.dv = v.size(2) / heads;
  p.ldy = v.size(2), p.scale = scale;
  const std::vector<int64_t> sizes{p.n, p.l, v.size(2)};
  Tensor y = torch::stable::new_empty(q, sizes);
  STD_TORCH_CHECK(y.numel() == 0 || (p.s > 0 && p.d > 0), kOp, ": there are no keys");
  if (y.numel() == 0) return y;
  Ptrs ptrs;
  ptrs.x = door::floats(q_keep), ptrs.residual = door::floats(k_keep), ptrs.w = door::floats(v_keep);
  ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, attention_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(static_cast<double>(p.n * p.heads * p.l * p.s * (p.d + p.dv))), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("attention(Tensor q, Tensor k, Tensor v, int heads, float scale, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("attention", TORCH_BOX(&attention)); }

}  // namespace pycnn
