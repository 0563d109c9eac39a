// torch.ops.pycnn.pool2d and adaptive_pool2d. Arguments are checked in full, with torch's rules, by pycnn/ops/pool2d.py;
// what is checked here keeps memory safe.
#include "ops/pool2d/pool2d.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "pool2d";

// torch's rule; with ceil_mode the last window must start inside the map or its leading padding.
int64_t out_size(int64_t size, int64_t k, int64_t stride, int64_t pad, int64_t dilation, bool ceil_mode) {
  const int64_t span = size + 2 * pad - dilation * (k - 1) - 1 + (ceil_mode ? stride - 1 : 0);
  const int64_t out = span >= 0 ? span / stride + 1 : 0;
  return ceil_mode && (out - 1) * stride >= size + pad ? out - 1 : out;
}

Pool2dParams read_sizes(const Tensor& x, int64_t mode) {
  door::check_float_cpu(kOp, "x", x, 4);
  Pool2dParams p;
  p.mode = static_cast<PoolMode>(mode);
  p.n = x.size(0), p.c = x.size(1), p.h = x.size(2), p.w = x.size(3), p.ldy = p.c;
  STD_TORCH_CHECK(p.c > 0 && p.h > 0 && p.w > 0, kOp, ": x has an empty dimension: [", p.n, ", ", p.c, ", ", p.h, ", ",
                  p.w, "]");
  return p;
}

Tensor run(const Tensor& x, Pool2dParams p, double taps, const std::string& kernel_name) {
  const bool channels_last = door::suggests_channels_last(x);
  const Tensor y = door::empty_nhwc(x, p.n, p.c, p.oh, p.ow, channels_last);
  if (y.numel() == 0) return door::in_format(y, channels_last);

  const door::Map map = door::read_map(kOp, "x", x);
  p.ldx = map.ld;
  Ptrs ptrs;
  ptrs.x = map.data, ptrs.y = door::mutable_floats(y);
  launch(door::choose(kOp, pool2d_kernels(), p, kernel_name), p, ptrs,
         door::workers_for(8.0 * taps * static_cast<double>(y.numel())), Backend::kOpenMP);
  return door::in_format(y, channels_last);
}

Tensor pool2d(const Tensor& x, int64_t mode, std::vector<int64_t> kernel_size, std::vector<int64_t> stride,
              std::vector<int64_t> padding, std::vector<int64_t> dilation, bool ceil_mode, bool count_include_pad,
              int64_t divisor_override, std::string kernel_name) {
  STD_TORCH_CHECK(mode == 0 || mode == 1, kOp, ": mode is 0 (max) or 1 (average), got ", mode);
  for (const auto* pair : {&kernel_size, &stride, &padding, &dilation})
    STD_TORCH_CHECK(pair->size() == 2, kOp, ": kernel_size, stride, padding and dilation are two integers each");
  for (const auto* pair : {&kernel_size, &stride, &dilation})
    STD_TORCH_CHECK((*pair)[0] > 0 && (*pair)[1] > 0, kOp, ": kernel_size, stride and dilation must be positive");
  for (const int i : {0, 1}) {
    STD_TORCH_CHECK(padding[i] >= 0 && padding[i] <= kernel_size[i] / 2, kOp, ": padding ", padding[i],
                    " is not between 0 and half of the kernel size ", kernel_size[i]);
    STD_TORCH_CHECK(mode == 0 || dilation[i] == 1, kOp, ": average pooling has no dilation");
  }
  Pool2dParams p = read_sizes(x, mode);
  p.kh = kernel_size[0], p.kw = kernel_size[1], p.sh = stride[0], p.sw = stride[1];
  p.ph = padding[0], p.pw = padding[1], p.dh = dilation[0], p.dw = dilation[1];
  p.count_include_pad = count_include_pad, p.divisor_override = divisor_override;
  p.oh = out_size(p.h, p.kh, p.sh, p.ph, p.dh, ceil_mode);
  p.ow = out_size(p.w, p.kw, p.sw, p.pw, p.dw, ceil_mode);
  STD_TORCH_CHECK(p.oh > 0 && p.ow > 0, kOp, ": no window fits a map of ", p.h, " x ", p.w);
  return run(x, p, static_cast<double>(p.kh * p.kw), kernel_name);
}

Tensor adaptive_pool2d(const Tensor& x, int64_t mode, std::vector<int64_t> output_size, std::string kernel_name) {
  STD_TORCH_CHECK(mode == 2 || mode == 3, kOp, ": mode is 2 (adaptive max) or 3 (adaptive average), got ", mode);
  STD_TORCH_CHECK(output_size.size() == 2 && output_size[0] >= 0 && output_size[1] >= 0, kOp,
                  ": output_size must be two integers >= 0");
  Pool2dParams p = read_sizes(x, mode);
  p.oh = output_size[0], p.ow = output_size[1];
  return run(x, p, static_cast<double>(p.h * p.w) / static_cast<double>(p.oh * p.ow + 1), kernel_name);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def(
      "pool2d(Tensor x, int mode, int[] kernel_size, int[] stride, int[] padding, int[] dilation, bool ceil_mode, "
      "bool count_include_pad, int divisor_override, str kernel) -> Tensor");
  m.def("adaptive_pool2d(Tensor x, int mode, int[] output_size, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) {
  m.impl("pool2d", TORCH_BOX(&pool2d));
  m.impl("adaptive_pool2d", TORCH_BOX(&adaptive_pool2d));
}

}  // namespace pycnn
