#include "base/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace pycnn {
namespace {

constexpr int64_t kPage = 4096;
// From this size on, memory is mapped and made present in one call, at 0.3 ms a MiB; page by page, as it is first used,
// it costs 0.5, more than a kernel takes to fill it. Large pages cost from 0.1 to 2 and make no kernel faster.
constexpr int64_t kMapped = int64_t{4} << 20;

void make_present(void* data, int64_t bytes) {
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, Linux 5.14; older headers lack the name
  // Advice: a kernel that does not know it makes the pages present as they are used.
  madvise(data, static_cast<size_t>(bytes), kPopulateWrite);
}

void* map(int64_t bytes) {
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  make_present(data, bytes);
  return data;
}

int64_t rounded(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

Buffer::Buffer(int64_t count) {
  if (count <= 0) return;
  const int64_t bytes = count * static_cast<int64_t>(sizeof(float));
  bytes_ = rounded(bytes, bytes >= kMapped ? kPage : kAlign);
  data_ = static_cast<float*>(bytes >= kMapped ? map(bytes_) : std::aligned_alloc(kAlign, static_cast<size_t>(bytes_)));
  if (data_ == nullptr) throw std::bad_alloc();
}

bool Buffer::grow(int64_t bytes) {
  if (bytes_ < kMapped || bytes <= bytes_) return false;
  bytes = rounded(bytes, kPage);
  void* data = mremap(data_, static_cast<size_t>(bytes_), static_cast<size_t>(bytes), MREMAP_MAYMOVE);
  if (data == MAP_FAILED) return false;
  make_present(static_cast<char*>(data) + bytes_, bytes - bytes_);
  data_ = static_cast<float*>(data), bytes_ = bytes;
  return true;
}

Buffer::~Buffer() {
  if (data_ != nullptr && bytes_ >= kMapped)
    munmap(data_, static_cast<size_t>(bytes_));
  else
    std::free(data_);
}

}  // namespace pycnn
