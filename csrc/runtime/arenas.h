// Memory that plans run in, shared by all plans of a model: a new shape runs where the last one ran.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "base/buffer.h"

namespace pycnn {

class Arenas {
 public:
  // A buffer of at least `bytes`: the smallest free one that is large enough, else a new one in place of the largest
  // free one. Thread-safe.
  std::unique_ptr<Buffer> take(int64_t bytes);
  void give(std::unique_ptr<Buffer> buffer);
  int64_t bytes() const;  // of the buffers that no call is using

 private:
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Buffer>> free_;  // by size, smallest first
};

}  // namespace pycnn
