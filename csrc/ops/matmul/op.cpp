// torch.ops.pycnn.matmul: a [.., m, c], b [.., c, k], added [.., m, k] or none, all with the same leading axes, of any
// strides -> [.., m, k], contiguous. pycnn/ops/matmul.py expands what repeats.
#include "ops/matmul/matmul.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "matmul";

struct Axis {
  int64_t size, a, b, r, y;  // strides in elements
};

// Leading axes, outermost first, neighbours merged where one stride walks through both in every tensor.
std::vector<Axis> merged_axes(const Tensor& a, const Tensor& b, const Tensor& r, const Tensor& y) {
  std::vector<Axis> merged;
  for (int64_t d = 0; d < y.dim() - 2; ++d) {
    const Axis axis{y.size(d), a.stride(d), b.stride(d), r.stride(d), y.stride(d)};
    if (axis.size == 1) continue;
    Axis* last = merged.empty() ? nullptr : &merged.back();
    if (last && last->a == axis.a * axis.size && last->b == axis.b * axis.size && last->r == axis.r * axis.size &&
        last->y == axis.y * axis.size)
      *last = {last->size * axis.size, axis.a, axis.b, axis.r, axis.y};
    else
      merged.push_back(axis);
  }
  return merged;
}

void check_shapes(const Tensor& a, const Tensor& b, const std::optional<Tensor>& added) {
  const int64_t rank = a.dim();
  STD_TORCH_CHECK(rank >= 2 && b.dim() == rank && (!added.has_value() || added->dim() == rank), kOp,
                  ": operands of different numbers of dimensions");
  for (int64_t d = 0; d < rank - 2; ++d)
    STD_TORCH_CHECK(a.size(d) == b.size(d) && (!added.has_value() || added->size(d) == a.size(d)), kOp,
                    ": leading dimension ", d, " differs");
  STD_TORCH_CHECK(a.size(rank - 1) == b.size(rank - 2), kOp, ": a has ", a.size(rank - 1), " columns, b ",
                  b.size(rank - 2), " rows");
  if (!added.has_value()) return;
  STD_TORCH_CHECK(added->size(rank - 2) == a.size(rank - 2) && added->size(rank - 1) == b.size(rank - 1), kOp,
                  ": added is [", added->size(rank - 2), ", ", added->size(rank - 1), "], the product [",
                  a.size(rank - 2), ", ", b.size(rank - 1), "]");
}

void fill(const std::vector<Axis>& axes, MatMulParams& p) {
  int d = kMatMulAxes - static_cast<int>(axes.size());
  for (const Axis& axis : axes) {
    p.s[d] = axis.size, p.a[d] = axis.a, p.b[d] = axis.b, p.r[d] = axis.r, p.y[d] = axis.y;
    ++d;
  }
}

Tensor matmul(const Tensor& a, const Tensor& b, const std::optional<Tensor>& added, double scale,
              std::string kernel_name) {
  door::check_float_cpu(kOp, "a", a, a.dim());
  door::check_float_cpu(kOp, "b", b, b.dim());
  if (added.has_value()) door::check_float_cpu(kOp, "added", *added, added->dim());
  check_shapes(a, b, added);
  const int64_t rank = a.dim();
  std::vector<int64_t> sizes;
  for (int64_t d = 0; d < rank - 1; ++d) sizes.push_back(a.size(d));
  sizes.push_back(b.size(rank - 1));
  Tensor y = torch::stable::new_empty(a, sizes);
  STD_TORCH_CHECK(y.numel() == 0 || a.size(rank - 1) > 0, kOp, ": there are no products to add");
  if (y.numel() == 0) return y;

  Tensor left = a, right = b, term = added.has_value() ? *added : y;
  std::vector<Axis> axes = merged_axes(left, right, term, y);
  if (axes.size() > kMatMulAxes) {
    left = torch::stable::contiguous(a), right = torch::stable::contiguous(b);
    if (added.has_value()) term = torch::stable::contiguous(*added);
    axes = merged_axes(left, right, term, y);
  }
  MatMulParams p;
  fill(axes, p);
  p.m = y.size(rank - 2), p.c = a.size(rank - 1), p.k = y.size(rank - 1), p.scale = scale;
  p.am = left.stride(rank - 2), p.ac = left.stride(rank - 1), p.bc = right.stride(rank - 2);
  p.bk = right.stride(rank - 1), p.rm = term.stride(rank - 2), p.rk = term.stride(rank - 1);
  p.ym = y.stride(rank - 2), p.yk = y.stride(rank - 1);
  const auto& kernel = door::choose(kOp, matmul_kernels(), p, kernel_name);
  Ptrs ptrs;
  ptrs.x = door::floats(left), ptrs.residual = door::floats(right);
  ptrs.w = added.has_value() ? door::floats(term) : nullptr;
  ptrs.y = door::mutable_floats(y);
  launch(kernel, p, ptrs, door::workers_for(double(matmul_batch(p)) * p.m * p.c * p.k), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("matmul(Tensor a, Tensor b, Tensor? added, float scale, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("matmul", TORCH_BOX(&matmul)); }

}  // namespace pycnn
