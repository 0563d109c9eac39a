// torch.ops.pycnn.arith: `other` broadcasts to x; the result has the strides torch's elementwise ops give for x alone
// (pycnn/ops/arith.py brings x in the order torch would choose for both).
#include "ops/arith/arith.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "arith";

struct Axis {
  int64_t size, x, b, y;  // strides in elements
};

// y's axes, outermost first, neighbours merged where one stride walks through both in every tensor.
std::vector<Axis> merged_axes(const Tensor& x, const Tensor& b, const Tensor& y) {
  std::vector<Axis> axes, merged;
  const int64_t missing = y.dim() - b.dim();
  for (int64_t d = 0; d < y.dim(); ++d) {
    const bool repeats = d < missing || b.size(d - missing) == 1;
    if (y.size(d) > 1) axes.push_back({y.size(d), x.stride(d), repeats ? 0 : b.stride(d - missing), y.stride(d)});
  }
  for (size_t i = 1; i < axes.size(); ++i)  // by y's stride, largest first
    for (size_t k = i; k > 0 && axes[k - 1].y < axes[k].y; --k) {
      const Axis moved = axes[k];
      axes[k] = axes[k - 1], axes[k - 1] = moved;
    }
  for (const Axis& a : axes) {
    Axis* last = merged.empty() ? nullptr : &merged.back();
    if (last && last->x == a.x * a.size && last->b == a.b * a.size && last->y == a.y * a.size)
      *last = {last->size * a.size, a.x, a.b, a.y};
    else
      merged.push_back(a);
  }
  return merged;
}

// Whether the axes are images, rows and floats as the kernels take them; fills p if so.
bool fill(const std::vector<Axis>& axes, ArithParams& p) {
  if (axes.size() > 3) return false;
  Axis image{1, 0, 0, 0}, row{1, 0, 0, 0}, c{1, 1, 0, 1};
  if (!axes.empty()) c = axes.back();
  if (axes.size() > 1) row = axes[axes.size() - 2];
  if (axes.size() > 2) image = axes[0];
  if (c.x != 1 || c.y != 1 || c.b < 0 || c.b > 1) return false;
  if (image.size > 1 && (image.x != row.x * row.size || image.y != row.y * row.size)) return false;
  p.n = image.size, p.pixels = row.size, p.c = c.size;
  p.ldx = row.size > 1 ? row.x : c.size, p.ldy = row.size > 1 ? row.y : c.size;
  p.bn = image.b, p.bp = row.b, p.bc = c.b;
  return p.ldx >= p.c && p.ldy >= p.c;
}

Tensor copied(const Tensor& t, const Tensor& like) {
  Tensor copy = torch::stable::empty_like(like);
  torch::stable::copy_(copy, t);
  return copy;
}

Tensor arith(const Tensor& x, const Tensor& other, int64_t kind, int64_t act, double act_param,
             std::string kernel_name) {
  door::check_float_cpu(kOp, "x", x, x.dim());
  door::check_float_cpu(kOp, "other", other, other.dim());
  STD_TORCH_CHECK(other.dim() <= x.dim(), kOp, ": other has ", other.dim(), " dimensions, x ", x.dim());
  for (int64_t d = 0, o = x.dim() - other.dim(); d < other.dim(); ++d)
    STD_TORCH_CHECK(other.size(d) == 1 || other.size(d) == x.size(o + d), kOp, ": dimension ", d, " of other is ",
                    other.size(d), ", of x ", x.size(o + d));
  STD_TORCH_CHECK(kind >= 0 && kind < kArithKindCount, kOp, ": unknown kind ", kind);
  STD_TORCH_CHECK(act >= 0 && act < kActCount, kOp, ": unknown activation ", act);
  Tensor y = door::empty_elementwise(x);
  if (y.numel() == 0) return y;

  ArithParams p;
  Tensor a = x, b = other;
  if (!fill(merged_axes(a, b, y), p)) {
    a = copied(x, y);
    if (!fill(merged_axes(a, b, y), p)) {
      b = copied(other, y);
      fill(merged_axes(a, b, y), p);
    }
  }
  p.kind = static_cast<ArithKind>(kind);
  p.act = static_cast<Act>(act), p.act_param = act_param;
  Ptrs ptrs;
  ptrs.x = door::floats(a), ptrs.residual = door::floats(b);
  ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, arith_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(y.numel())), Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("arith(Tensor x, Tensor other, int kind, int act, float act_param, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("arith", TORCH_BOX(&arith)); }

}  // namespace pycnn
