#include "ops/door.h"

namespace pycnn::door {
namespace {

// Elements from one pixel to the next, or 0 if the strides are not those of an NHWC map with a pixel stride.
int64_t pixel_stride(const Tensor& t) {
  const int64_t n = t.size(0), c = t.size(1), h = t.size(2), w = t.size(3);
  if (c > 1 && t.stride(1) != 1) return 0;
  const int64_t ld = w > 1 ? t.stride(3) : h > 1 ? t.stride(2) : n > 1 ? t.stride(0) : c;
  if (ld < c) return 0;
  if (h > 1 && t.stride(2) != w * ld) return 0;
  if (n > 1 && t.stride(0) != h * w * ld) return 0;
  return ld;
}

}  // namespace

void check_float_cpu(const char* op, const char* name, const Tensor& t, int64_t dim) {
  STD_TORCH_CHECK(t.is_cpu(), op, ": ", name, " is not a CPU tensor");
  STD_TORCH_CHECK(t.scalar_type() == torch::headeronly::ScalarType::Float, op, ": ", name, " is not float32");
  STD_TORCH_CHECK(t.dim() == dim, op, ": ", name, " has ", t.dim(), " dimensions, expected ", dim);
}

Map read_map(const char* op, const char* name, const Tensor& t) {
  check_float_cpu(op, name, t, 4);
  Map map{t, nullptr, t.size(0), t.size(2), t.size(3), t.size(1), pixel_stride(t)};
  if (map.ld == 0) {
    map.tensor = torch::stable::contiguous(t, torch::headeronly::MemoryFormat::ChannelsLast);
    map.ld = map.c;
  }
  map.data = floats(map.tensor);
  return map;
}

bool is_nchw(const Tensor& t) { return t.is_contiguous(); }

bool suggests_channels_last(const Tensor& t) {
  int64_t least = 0;
  if (t.dim() != 4 || t.stride(1) == 0) return false;
  for (const int64_t d : {1, 3, 2, 0}) {
    if (t.size(d) == 0 || t.stride(d) < least) return false;
    if (d == 0 && least == t.stride(1)) return false;  // [n, 1, 1, 1] counts as NCHW
    least = t.stride(d) * (t.size(d) > 1 ? t.size(d) : 1);
  }
  return true;
}

Tensor empty_nhwc(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last) {
  using torch::headeronly::MemoryFormat;
  const std::vector<int64_t> sizes{n, c, h, w};
  const bool same_bytes = c == 1 || h * w == 1 || n * c * h * w == 0;
  const auto format = same_bytes && !channels_last ? MemoryFormat::Contiguous : MemoryFormat::ChannelsLast;
  return torch::stable::empty(sizes, like.scalar_type(), torch::headeronly::Layout::Strided, like.device(), false,
                              format);
}

Tensor in_format(const Tensor& y, bool channels_last) {
  if (channels_last) return y;
  return torch::stable::contiguous(y, torch::headeronly::MemoryFormat::Contiguous);
}

Tensor empty_elementwise(const Tensor& x) {
  if (x.is_contiguous()) return torch::stable::new_empty(x, x.sizes());
  if (x.dim() == 4 && pixel_stride(x) == x.size(1))
    return empty_nhwc(x, x.size(0), x.size(1), x.size(2), x.size(3), true);
  return torch::stable::empty_like(x);
}

Rows rows_along(const Tensor& x, const Tensor& y) {
  Rows rows{y.numel(), y.numel()};
  for (int64_t d = 0; d < y.dim(); ++d)  // the innermost dimension that differs starts the rows
    if (y.size(d) > 1 && x.stride(d) != y.stride(d) && y.stride(d) < rows.c) rows = {y.stride(d), x.stride(d)};
  for (int64_t d = 0; d < y.dim(); ++d)
    if (y.size(d) > 1 && y.stride(d) >= rows.c && x.stride(d) * rows.c != y.stride(d) * rows.ld) return {0, 0};
  return rows;
}

const float* read_vector(const char* op, const char* name, const std::optional<Tensor>& t, int64_t size, Tensor& keep) {
  if (!t.has_value()) return nullptr;
  check_float_cpu(op, name, *t, 1);
  STD_TORCH_CHECK(t->size(0) == size, op, ": ", name, " has ", t->size(0), " values, expected ", size);
  keep = torch::stable::contiguous(*t);
  return floats(keep);
}

int64_t last_rows(const Tensor& x) {
  const int64_t last = x.dim() - 1;
  if (x.size(last) > 1 && x.stride(last) != 1) return 0;
  int64_t ld = 0, expected = 0;
  for (int64_t d = last - 1; d >= 0; --d) {
    if (x.size(d) == 1) continue;
    if (ld == 0) ld = expected = x.stride(d);
    if (x.stride(d) != expected || ld < x.size(last)) return 0;
    expected *= x.size(d);
  }
  return ld == 0 ? x.size(last) : ld;
}

int workers_for(double work) {
  const int threads = static_cast<int>(torch::stable::get_num_threads());
  const int most = threads < machine().cores ? threads : machine().cores;
  return work < 1e6 ? 1 : most;
}

}  // namespace pycnn::door
