#include "base/cuda/kernel.h"
#include "base/cuda/reduce.h"
#include "ops/group_norm/cuda.h"

namespace pycnn::cuda {
constexpr int kThreads = 512;

struct GroupNormArgs {
  const void* x;
  const float *w, *bias;
  void* y;
  int64_t ldx, ldy;
  int pixels, c, groups, planar;
  float eps;
  Act act;
  float act_param;
};

// Element e of a group's `count`, in the order of memory.
struct GroupNormSpot {
  int channel;  // within the group
  int64_t pixel;
};

PYCNN_DEVICE GroupNormSpot group_norm_spot(const GroupNormArgs& a, uint32_t e, uint32_t channels) {
  const uint32_t across = a.planar ? static_cast<uint32_t>(a.pixels) : channels, row = e / across,
                 rest = e - row * across;
  return a.planar ? GroupNormSpot{static_cast<int>(row), rest} : GroupNormSpot{static_cast<int>(rest), row};
}

PYCNN_DEVICE int64_t group_norm_address(const GroupNormArgs& a, int64_t image, int channel, int64_t pixel, int64_t ld) {
  return a.planar ? (image * a.c + channel) * ld + pixel : (image * a.pixels + pixel) * ld + channel;
}

// A block a group of an image, which it reads three times.
template <class T>
PYCNN_GLOBAL(kThreads)
group_norm_map(GroupNormArgs a) {
  wait_for_earlier();
  const int64_t image = block_x() / a.groups;
  const uint32_t channels = static_cast<uint32_t>(a.c / a.groups), count = channels * static_cast<uint32_t>(a.pixels);
  const int first = static_cast<int>(block_x() % a.groups) * static_cast<int>(channels);
  float* partial = reinterpret_cast<float*>(shared());
  const auto value = [&](uint32_t e) {
    const GroupNormSpot s = group_norm_spot(a, e, channels);
    return to_float(load(static_cast<const T*>(a.x) + group_norm_address(a, image, first + s.channel, s.pixel, a.ldx)));
  };
  float sum = 0, squares = 0;
  for (uint32_t e = static_cast<uint32_t>(thread()); e < count; e += kThreads) sum += value(e);
  const float mean = block_sum<kThreads>(sum, partial) / static_cast<float>(count);
  for (uint32_t e = static_cast<uint32_t>(thread()); e < count; e += kThreads) {
    const float v = value(e) - mean;
    squares += v * v;
  }
  squares = block_sum<kThreads>(squares, partial + kThreads / kLanes);
  const float scale = 1 / sqrtf(squares / static_cast<float>(count) + a.eps);
  for (uint32_t e = static_cast<uint32_t>(thread()); e < count; e += kThreads) {
    const GroupNormSpot s = group_norm_spot(a, e, channels);
    const int channel = first + s.channel;
    float v[1] = {(value(e) - mean) * scale};
    v[0] = v[0] * (a.w ? load(a.w + channel) : 1.0f) + (a.bias ? load(a.bias + channel) : 0.0f);
    activate(v, a.act, a.act_param);
    store(static_cast<T*>(a.y) + group_norm_address(a, image, channel, s.pixel, a.ldy), from_float<T>(v[0]));
  }
}

template <class T>
struct GroupNorm : ChannelWeights<GroupNormParams> {
  using Type = T;

  static const char* why_not(const GroupNormParams& p) {
    constexpr int64_t kMost = 1 << 30;
    return p.pixels * p.c > kMost || p.n * p.groups > kMost ? "has more than 2^30 elements an image, or groups"
                                                            : nullptr;
  }

  static const char* launch(const GroupNormParams& p, const Ptrs& ptrs, Stream stream) {
    if (p.n * p.pixels * p.c == 0) return nullptr;
    const GroupNormArgs a{ptrs.x,
                          static_cast<const float*>(ptrs.w),
                          ptrs.bias,
                          ptrs.y,
                          p.ldx,
                          p.ldy,
                          static_cast<int>(p.pixels),
                          static_cast<int>(p.c),
                          static_cast<int>(p.groups),
                          static_cast<int>(p.planar),
                          static_cast<float>(p.eps),
                          p.act,
                          static_cast<float>(p.act_param)};
    const int shared_bytes = 2 * kThreads / kLanes * static_cast<int>(sizeof(float));
    return cuda::launch<group_norm_map<T>>({p.n * p.groups, 1}, kThreads, shared_bytes, stream, a);
  }
};

PYCNN_CUDA_KERNELS(group_norm_maps, GroupNormParams, GroupNorm, "group_norm_maps")

}  // namespace pycnn::cuda
