#include <cmath>

#include "base/act_reference.h"
#include "ops/group_norm/simd.h"

namespace pycnn {
namespace {

int64_t at(const GroupNormParams& p, int64_t image, int64_t c, int64_t pixel, int64_t ld) {
  return p.planar ? (image * p.c + c) * ld + pixel : (image * p.pixels + pixel) * ld + c;
}

void run(const GroupNormParams& p, const Ptrs& ptrs, Worker worker) {
  const GroupNormShare mine = group_norm_share(p, worker);
  const int64_t width = p.c / p.groups;
  const double count = static_cast<double>(width * p.pixels);
  for (int64_t item = mine.groups.begin; item < mine.groups.end; ++item) {
    const int64_t image = item / p.groups, first = item % p.groups * width;
    const auto sum = [&](auto f) {
      double total = 0;
      for (int64_t c = first; c < first + width; ++c)
        for (int64_t i = 0; i < p.pixels; ++i) total += f(static_cast<double>(ptrs.x[at(p, image, c, i, p.ldx)]));
      return total;
    };
    const double mean = sum([](double x) { return x; }) / count;
    const double var = sum([mean](double x) { return (x - mean) * (x - mean); }) / count;
    for (int64_t c = first; c < first + width; ++c) {
      const double scale = (ptrs.w ? ptrs.w[c] : 1.0) / std::sqrt(var + p.eps), shift = ptrs.bias ? ptrs.bias[c] : 0.0;
      for (int64_t i = mine.pixels.begin; i < mine.pixels.end; ++i) {
        const double y = (ptrs.x[at(p, image, c, i, p.ldx)] - mean) * scale + shift;
        ptrs.y[at(p, image, c, i, p.ldy)] = static_cast<float>(act_reference(y, p.act, p.act_param));
      }
    }
  }
}

const char* why_not(const GroupNormParams&, const Machine&) { return nullptr; }

}  // namespace

const GroupNormKernel group_norm_reference{
    "group_norm_reference", why_not, group_norm_packed_size, group_norm_pack, no_workspace<GroupNormParams>, run};

}  // namespace pycnn
