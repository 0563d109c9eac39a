// Runs one kernel by itself: eager ops, tests and benches. A plan runs its steps itself.
#pragma once
#include <cstdlib>
#include <new>

#include "base/kernel.h"
#include "base/parallel.h"

namespace pycnn {

inline constexpr int64_t kAlign = 64;

// 64-byte aligned storage of `count` floats; owns it.
class Buffer {
 public:
  explicit Buffer(int64_t count) {
    if (count <= 0) return;
    const size_t bytes = (static_cast<size_t>(count) * sizeof(float) + kAlign - 1) / kAlign * kAlign;
    data_ = static_cast<float*>(std::aligned_alloc(kAlign, bytes));
    if (data_ == nullptr) throw std::bad_alloc();
  }
  ~Buffer() { std::free(data_); }
  Buffer(Buffer&& other) noexcept : data_(other.data_) { other.data_ = nullptr; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  float* data() const { return data_; }

 private:
  float* data_ = nullptr;
};

// ptrs.w holds what the kernel's pack() made.
template <class Params>
void launch(const Kernel<Params>& kernel, const Params& params, Ptrs ptrs, int workers, Backend backend) {
  const Buffer workspace(kernel.workspace(params, workers));
  ptrs.workspace = workspace.data();
  struct Context {
    const Kernel<Params>& kernel;
    const Params& params;
    const Ptrs& ptrs;
  } context{kernel, params, ptrs};
  parallel(
      workers, backend,
      [](void* raw, Worker worker) {
        const auto& c = *static_cast<Context*>(raw);
        c.kernel.run(c.params, c.ptrs, worker);
      },
      &context);
}

}  // namespace pycnn
