// torch.ops.pycnn.conv2d: shapes are checked in full by pycnn/ops/conv2d.py; what is checked here keeps memory safe.
#include "ops/conv2d/conv2d.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "conv2d";

int64_t out_size(int64_t in, int64_t before, int64_t after, int64_t taps, int64_t stride, int64_t dilation) {
  const int64_t span = in + before + after - dilation * (taps - 1) - 1;
  STD_TORCH_CHECK(span >= 0, kOp, ": the kernel (", dilation * (taps - 1) + 1, ") is larger than the padded input (",
                  in + before + after, ")");
  return span / stride + 1;
}

Conv2dParams read_params(const Tensor& x, const Tensor& weight, const std::vector<int64_t>& stride,
                         const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation, int64_t groups) {
  door::check_float_cpu(kOp, "x", x, 4);
  door::check_float_cpu(kOp, "weight", weight, 4);
  STD_TORCH_CHECK(stride.size() == 2 && padding.size() == 4 && dilation.size() == 2, kOp,
                  ": expected 2 strides, 4 paddings (top, left, bottom, right) and 2 dilations");
  for (const int64_t v : {stride[0], stride[1], dilation[0], dilation[1], groups})
    STD_TORCH_CHECK(v > 0, kOp, ": stride, dilation and groups must be positive, got ", v);
  for (const int64_t v : padding) STD_TORCH_CHECK(v >= 0, kOp, ": padding must not be negative, got ", v);
  Conv2dParams p;
  p.n = x.size(0), p.c = x.size(1), p.h = x.size(2), p.w = x.size(3);
  p.k = weight.size(0), p.kh = weight.size(2), p.kw = weight.size(3), p.groups = groups;
  STD_TORCH_CHECK(p.c % groups == 0 && p.k % groups == 0, kOp, ": groups=", groups, " does not divide c=", p.c,
                  " and k=", p.k);
  STD_TORCH_CHECK(weight.size(1) * groups == p.c, kOp, ": weight takes ", weight.size(1) * groups, " channels, x has ",
                  p.c);
  STD_TORCH_CHECK(p.k > 0 && p.c > 0 && p.kh > 0 && p.kw > 0, kOp, ": empty weight");
  p.sh = stride[0], p.sw = stride[1], p.dh = dilation[0], p.dw = dilation[1];
  p.ph = padding[0], p.pw = padding[1];
  p.oh = out_size(p.h, padding[0], padding[2], p.kh, p.sh, p.dh);
  p.ow = out_size(p.w, padding[1], padding[3], p.kw, p.sw, p.dw);
  return p;
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias,
              const std::optional<Tensor>& residual, std::vector<int64_t> stride, std::vector<int64_t> padding,
              std::vector<int64_t> dilation, int64_t groups, int64_t act, double act_param, std::string kernel_name) {
  Conv2dParams p = read_params(x, weight, stride, padding, dilation, groups);
  STD_TORCH_CHECK(act >= 0 && act < kActCount, kOp, ": unknown activation ", act);
  p.act = static_cast<Act>(act), p.act_param = act_param, p.ldy = p.k;
  p.exact = kernel_name.empty();  // weights are packed at each call: transforming them too never pays
  const bool channels_last = door::suggests_channels_last(x) || door::suggests_channels_last(weight);
  const Tensor y = door::empty_nhwc(x, p.n, p.k, p.oh, p.ow, channels_last);
  if (y.numel() == 0) return door::in_format(y, channels_last);

  // A stem reads contiguous NCHW itself; more channels are worth a copy to NHWC.
  p.x_nchw = door::is_nchw(x) && !door::suggests_channels_last(x) && p.group_c() < 8;
  const door::Map map = p.x_nchw ? door::Map{x, door::floats(x), p.n, p.h, p.w, p.c, 0} : door::read_map(kOp, "x", x);
  p.ldx = map.ld;
  Ptrs ptrs;
  ptrs.x = map.data;
  Tensor bias_kept;
  ptrs.bias = door::read_vector(kOp, "bias", bias, p.k, bias_kept);
  std::optional<door::Map> r;
  if (residual.has_value()) {
    r = door::read_map(kOp, "residual", *residual);
    STD_TORCH_CHECK(r->n == p.n && r->c == p.k && r->h == p.oh && r->w == p.ow, kOp, ": residual is [", r->n, ", ",
                    r->c, ", ", r->h, ", ", r->w, "], the output [", p.n, ", ", p.k, ", ", p.oh, ", ", p.ow, "]");
    ptrs.residual = r->data, p.ldr = r->ld;
  }
  const auto& kernel = door::choose(kOp, conv2d_kernels(), p, kernel_name);
  const Tensor w = torch::stable::contiguous(weight);
  const Buffer packed(kernel.packed_size(p));
  kernel.pack(p, door::floats(w), packed.data());
  ptrs.w = packed.data();
  ptrs.y = door::mutable_floats(y);
  const double work = double(p.pixels()) * p.k * p.group_c() * p.kh * p.kw;
  launch(kernel, p, ptrs, door::workers_for(work), Backend::kOpenMP);
  return door::in_format(y, channels_last);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def(
      "conv2d(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, int[] stride, int[] padding, int[] dilation, "
      "int groups, int act, float act_param, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("conv2d", TORCH_BOX(&conv2d)); }

}  // namespace pycnn
