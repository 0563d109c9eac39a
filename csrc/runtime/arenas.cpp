#include "runtime/arenas.h"

#include <algorithm>

namespace pycnn {

std::unique_ptr<Buffer> Arenas::take(int64_t bytes) {
  std::unique_ptr<Buffer> largest;
  {
    const std::lock_guard lock(mutex_);
    for (auto at = free_.begin(); at != free_.end(); ++at)
      if ((*at)->bytes() >= bytes) {
        auto found = std::move(*at);
        free_.erase(at);
        return found;
      }
    if (!free_.empty()) {
      largest = std::move(free_.back());
      free_.pop_back();
    }
  }
  // Only what it grows by has to be made present: a batch with one image more costs one image's memory.
  if (largest != nullptr && largest->grow(bytes)) return largest;
  largest.reset();
  return std::make_unique<Buffer>(std::max<int64_t>(bytes, 1) / static_cast<int64_t>(sizeof(float)) + 1);
}

void Arenas::give(std::unique_ptr<Buffer> buffer) {
  const std::lock_guard lock(mutex_);
  const auto larger = [&](const auto& other) { return other->bytes() > buffer->bytes(); };
  free_.insert(std::find_if(free_.begin(), free_.end(), larger), std::move(buffer));
  if (static_cast<int64_t>(free_.size()) > most_) free_.erase(free_.begin());
}

int64_t Arenas::bytes() const {
  const std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& buffer : free_) sum += buffer->bytes();
  return sum;
}

}  // namespace pycnn
