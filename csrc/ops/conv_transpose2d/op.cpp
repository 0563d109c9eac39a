// torch.ops.pycnn.conv_transpose2d: shapes are checked in full by pycnn/ops/conv_transpose2d.py; what is checked here
// keeps memory safe.
#include "ops/conv_transpose2d/conv_transpose2d.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "conv_transpose2d";
using Ints = std::vector<int64_t>;

ConvTranspose2dParams read_params(const Tensor& x, const Tensor& weight, const Ints& stride, const Ints& padding,
                                  const Ints& output_padding, const Ints& dilation, int64_t groups) {
  door::check_float_cpu(kOp, "x", x, 4);
  door::check_float_cpu(kOp, "weight", weight, 4);
  STD_TORCH_CHECK(stride.size() == 2 && padding.size() == 2 && output_padding.size() == 2 && dilation.size() == 2, kOp,
                  ": expected 2 strides, 2 paddings, 2 output paddings and 2 dilations");
  for (const int64_t v : {stride[0], stride[1], dilation[0], dilation[1], groups})
    STD_TORCH_CHECK(v > 0, kOp, ": stride, dilation and groups must be positive, got ", v);
  for (const int64_t v : {padding[0], padding[1], output_padding[0], output_padding[1]})
    STD_TORCH_CHECK(v >= 0, kOp, ": paddings must not be negative, got ", v);
  ConvTranspose2dParams p;
  p.n = x.size(0), p.c = x.size(1), p.h = x.size(2), p.w = x.size(3), p.groups = groups;
  p.k = weight.size(1) * groups, p.kh = weight.size(2), p.kw = weight.size(3);
  STD_TORCH_CHECK(weight.size(0) == p.c, kOp, ": weight takes ", weight.size(0), " channels, x has ", p.c);
  STD_TORCH_CHECK(p.c % groups == 0, kOp, ": groups=", groups, " does not divide c=", p.c);
  STD_TORCH_CHECK(p.k > 0 && p.c > 0 && p.kh > 0 && p.kw > 0, kOp, ": empty weight");
  p.sh = stride[0], p.sw = stride[1], p.dh = dilation[0], p.dw = dilation[1];
  p.ph = padding[0], p.pw = padding[1];
  p.oh = (p.h - 1) * p.sh - 2 * p.ph + p.dh * (p.kh - 1) + output_padding[0] + 1;
  p.ow = (p.w - 1) * p.sw - 2 * p.pw + p.dw * (p.kw - 1) + output_padding[1] + 1;
  STD_TORCH_CHECK(p.h > 0 && p.w > 0 && p.oh > 0 && p.ow > 0, kOp, ": x is ", p.h, " x ", p.w, ", the result ", p.oh,
                  " x ", p.ow);
  return p;
}

Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias, Ints stride,
                        Ints padding, Ints output_padding, Ints dilation, int64_t groups, int64_t act, double act_param,
                        std::string kernel_name) {
  ConvTranspose2dParams p = read_params(x, weight, stride, padding, output_padding, dilation, groups);
  STD_TORCH_CHECK(act >= 0 && act < kActCount, kOp, ": unknown activation ", act);
  p.act = static_cast<Act>(act), p.act_param = act_param, p.ldy = p.k;
  const bool channels_last = door::suggests_channels_last(x) || door::suggests_channels_last(weight);
  const Tensor y = door::empty_nhwc(x, p.n, p.k, p.oh, p.ow, channels_last);
  if (y.numel() == 0) return door::in_format(y, channels_last);

  const door::Map map = door::read_map(kOp, "x", x);
  p.ldx = map.ld;
  Ptrs ptrs;
  ptrs.x = map.data, ptrs.y = door::mutable_floats(y);
  Tensor bias_kept;
  ptrs.bias = door::read_vector(kOp, "bias", bias, p.k, bias_kept);
  const auto& kernel = door::choose(kOp, conv_transpose2d_kernels(), p, kernel_name);
  const Tensor w = torch::stable::contiguous(weight);
  const Buffer packed(kernel.packed_size(p));
  kernel.pack(p, door::floats(w), packed.data());
  ptrs.w = packed.data();
  const double work = double(p.n) * p.h * p.w * p.c * p.group_k() * p.kh * p.kw;
  launch(kernel, p, ptrs, door::workers_for(work), Backend::kOpenMP);
  return door::in_format(y, channels_last);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def(
      "conv_transpose2d(Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] output_padding, "
      "int[] dilation, int groups, int act, float act_param, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("conv_transpose2d", TORCH_BOX(&conv_transpose2d)); }

}  // namespace pycnn
