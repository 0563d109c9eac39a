// torch.ops.pycnn.concat: joins [n, c_i, h, w] maps along the channels. The joined map is channels_last if every source
// is, as torch.cat's; contiguous otherwise, and then an image's c_i * h * w values are one row of the kernel.
#include "ops/concat/concat.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
constexpr const char* kOp = "concat";

int64_t check_sources(const std::vector<Tensor>& tensors) {
  STD_TORCH_CHECK(!tensors.empty(), kOp, ": no tensors");
  int64_t channels = 0;
  for (const Tensor& t : tensors) {
    door::check_float_cpu(kOp, "a source", t, 4);
    for (const int64_t d : {0, 2, 3})
      STD_TORCH_CHECK(t.size(d) == tensors[0].size(d), kOp, ": dimension ", d, " is ", t.size(d), " in one source, ",
                      tensors[0].size(d), " in another");
    channels += t.size(1);
  }
  return channels;
}

Tensor concat(std::vector<Tensor> tensors, std::string kernel_name) {
  const int64_t c = check_sources(tensors);
  const int64_t n = tensors[0].size(0), h = tensors[0].size(2), w = tensors[0].size(3);
  bool channels_last = true;
  for (const Tensor& t : tensors) channels_last = channels_last && door::suggests_channels_last(t);
  const std::vector<int64_t> sizes{n, c, h, w};
  const Tensor y =
      channels_last ? door::empty_nhwc(tensors[0], n, c, h, w, true) : torch::stable::new_empty(tensors[0], sizes);
  if (y.numel() == 0) return y;

  ConcatParams p;
  p.pixels = channels_last ? n * h * w : n;
  p.ldy = channels_last ? c : c * h * w;
  Ptrs ptrs;
  ptrs.y = door::mutable_floats(y);
  for (const Tensor& t : tensors) {
    Tensor kept = t;
    if (channels_last) {
      const door::Map map = door::read_map(kOp, "a source", t);
      kept = map.tensor, ptrs.x = map.data, p.c = map.c, p.ldx = map.ld;
    } else {
      kept = torch::stable::contiguous(t);
      ptrs.x = door::floats(kept), p.c = p.ldx = t.size(1) * h * w;
    }
    launch(door::choose(kOp, concat_kernels(), p, kernel_name), p, ptrs,
           door::workers_for(8.0 * static_cast<double>(t.numel())), Backend::kOpenMP);
    ptrs.y += p.c;
  }
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) { m.def("concat(Tensor[] tensors, str kernel) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("concat", TORCH_BOX(&concat)); }

}  // namespace pycnn
