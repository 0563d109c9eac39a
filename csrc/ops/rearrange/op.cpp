// torch.ops.pycnn.pixel_shuffle, pixel_unshuffle, channel_shuffle: one strided copy each, from x's strides to those of a
// result in x's memory format.
#include "ops/door.h"
#include "ops/rearrange/rearrange.h"

namespace pycnn {
namespace {

using door::Tensor;

struct Axis {
  int64_t size, x, y;
};

// Outermost of y first; the last is adjacent in y, and the one before it in x where that is another.
RearrangeParams order(std::vector<Axis> axes) {
  RearrangeParams p;
  std::vector<Axis> sorted;
  for (const Axis& axis : axes) {
    if (axis.size == 1) continue;
    auto at = sorted.begin();
    while (at != sorted.end() && at->y >= axis.y) ++at;
    sorted.insert(at, axis);
  }
  if (!sorted.empty() && sorted.back().x != 1)
    for (auto at = sorted.begin(); at + 1 < sorted.end(); ++at)
      if (at->x == 1) {
        const Axis adjacent = *at;
        sorted.erase(at);
        sorted.insert(sorted.end() - 1, adjacent);
        break;
      }
  int64_t at = kRearrangeAxes - static_cast<int64_t>(sorted.size());
  for (const Axis& axis : sorted) p.size[at] = axis.size, p.x[at] = axis.x, p.y[at] = axis.y, ++at;
  return p;
}

Tensor copy(const char* op, const Tensor& x, const Tensor& y, const std::vector<Axis>& axes, const std::string& name) {
  if (y.numel() == 0) return y;
  const RearrangeParams p = order(axes);
  Ptrs ptrs;
  ptrs.x = door::floats(x), ptrs.y = door::mutable_floats(y);
  launch(door::choose(op, rearrange_kernels(), p, name), p, ptrs,
         door::workers_for(8.0 * static_cast<double>(y.numel())), Backend::kOpenMP);
  return y;
}

Tensor empty_map(const Tensor& x, int64_t c, int64_t h, int64_t w) {
  const std::vector<int64_t> sizes{x.size(0), c, h, w};
  if (door::suggests_channels_last(x)) return door::empty_nhwc(x, x.size(0), c, h, w, true);
  return torch::stable::new_empty(x, sizes);
}

Tensor pixel_shuffle(const Tensor& x, int64_t r, std::string kernel) {
  door::check_float_cpu("pixel_shuffle", "x", x, 4);
  STD_TORCH_CHECK(r > 0 && x.size(1) % (r * r) == 0, "pixel_shuffle: c=", x.size(1), " is no multiple of ", r,
                  " squared");
  const int64_t k = x.size(1) / (r * r), h = x.size(2), w = x.size(3), sc = x.stride(1);
  const Tensor y = empty_map(x, k, h * r, w * r);
  return copy("pixel_shuffle", x, y,
              {{x.size(0), x.stride(0), y.stride(0)},
               {k, sc * r * r, y.stride(1)},
               {h, x.stride(2), y.stride(2) * r},
               {r, sc * r, y.stride(2)},
               {w, x.stride(3), y.stride(3) * r},
               {r, sc, y.stride(3)}},
              kernel);
}

Tensor pixel_unshuffle(const Tensor& x, int64_t r, std::string kernel) {
  door::check_float_cpu("pixel_unshuffle", "x", x, 4);
  STD_TORCH_CHECK(r > 0 && x.size(2) % r == 0 && x.size(3) % r == 0, "pixel_unshuffle: ", x.size(2), " x ", x.size(3),
                  " is no multiple of ", r);
  const int64_t c = x.size(1), h = x.size(2) / r, w = x.size(3) / r;
  const Tensor y = empty_map(x, c * r * r, h, w);
  return copy("pixel_unshuffle", x, y,
              {{x.size(0), x.stride(0), y.stride(0)},
               {c, x.stride(1), y.stride(1) * r * r},
               {r, x.stride(2), y.stride(1) * r},
               {r, x.stride(3), y.stride(1)},
               {h, x.stride(2) * r, y.stride(2)},
               {w, x.stride(3) * r, y.stride(3)}},
              kernel);
}

Tensor channel_shuffle(const Tensor& x, int64_t groups, std::string kernel) {
  door::check_float_cpu("channel_shuffle", "x", x, 4);
  STD_TORCH_CHECK(groups > 0 && x.size(1) % groups == 0, "channel_shuffle: groups=", groups,
                  " does not divide c=", x.size(1));
  const int64_t each = x.size(1) / groups;
  const Tensor y = empty_map(x, x.size(1), x.size(2), x.size(3));
  return copy("channel_shuffle", x, y,
              {{x.size(0), x.stride(0), y.stride(0)},
               {groups, x.stride(1) * each, y.stride(1)},
               {each, x.stride(1), y.stride(1) * groups},
               {x.size(2), x.stride(2), y.stride(2)},
               {x.size(3), x.stride(3), y.stride(3)}},
              kernel);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("pixel_shuffle(Tensor x, int r, str kernel) -> Tensor");
  m.def("pixel_unshuffle(Tensor x, int r, str kernel) -> Tensor");
  m.def("channel_shuffle(Tensor x, int groups, str kernel) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) {
  m.impl("pixel_shuffle", TORCH_BOX(&pixel_shuffle));
  m.impl("pixel_unshuffle", TORCH_BOX(&pixel_unshuffle));
  m.impl("channel_shuffle", TORCH_BOX(&channel_shuffle));
}

}  // namespace pycnn
