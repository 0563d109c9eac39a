#include "base/cuda/elements.h"
#include "base/cuda/kernel.h"
#include "ops/rearrange/cuda.h"

namespace pycnn::cuda {
constexpr int kThreads = 256;

struct RearrangeArgs {
  const void* x;
  void* y;
  uint32_t count, size[kRearrangeAxes];
  int64_t xs[kRearrangeAxes], ys[kRearrangeAxes];
};

// A thread an element, the last axis adjacent; bits are moved as they are.
template <class T>
PYCNN_GLOBAL(kThreads)
strided_copy(RearrangeArgs a) {
  wait_for_earlier();
  uint32_t rest = static_cast<uint32_t>(block_x()) * kThreads + static_cast<uint32_t>(thread());
  if (rest >= a.count) return;
  int64_t from = 0, to = 0;
#pragma unroll
  for (int axis = kRearrangeAxes - 1; axis >= 0; --axis) {
    if (a.size[axis] == 1) continue;
    const uint32_t next = rest / a.size[axis], i = rest - next * a.size[axis];
    from += i * a.xs[axis], to += i * a.ys[axis];
    rest = next;
  }
  store(static_cast<T*>(a.y) + to, load(static_cast<const T*>(a.x) + from));
}

template <class T>
struct Rearrange : NoWeights<RearrangeParams> {
  using Type = T;

  static int64_t count(const RearrangeParams& p) {
    int64_t count = 1;
    for (const int64_t size : p.size) count *= size;
    return count;
  }

  static const char* why_not(const RearrangeParams& p) {
    return count(p) > 1 << 30 ? "has more than 2^30 elements" : nullptr;
  }

  static const char* launch(const RearrangeParams& p, const Ptrs& ptrs, Stream stream) {
    RearrangeArgs a{ptrs.x, ptrs.y, static_cast<uint32_t>(count(p)), {}, {}, {}};
    if (a.count == 0) return nullptr;
    for (int axis = 0; axis < kRearrangeAxes; ++axis) {
      a.size[axis] = static_cast<uint32_t>(p.size[axis]);
      a.xs[axis] = p.x[axis], a.ys[axis] = p.y[axis];
    }
    return cuda::launch<strided_copy<T>>({(a.count + kThreads - 1) / kThreads, 1}, kThreads, 0, stream, a);
  }
};

PYCNN_CUDA_KERNELS(rearrange_strided, RearrangeParams, Rearrange, "rearrange_strided")

}  // namespace pycnn::cuda
