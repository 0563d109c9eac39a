// Memory that kernels work in: arenas, workspaces, packed weights.
#pragma once
#include <cstdint>

namespace pycnn {

inline constexpr int64_t kAlign = 64;

// kAlign-aligned storage of `count` floats, not initialised; owns it. Throws std::bad_alloc.
class Buffer {
 public:
  explicit Buffer(int64_t count);
  ~Buffer();
  Buffer(Buffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr; }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  float* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  // Makes large memory larger; it may move, and what is in it is lost to the caller. false: nothing was done.
  bool grow(int64_t bytes);

 private:
  float* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace pycnn
