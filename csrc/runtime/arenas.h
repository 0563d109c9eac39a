// Memory that plans run in, shared by all plans of a model: a new shape runs where the last one ran. And memory of large
// results: fresh pages cost 0.25 us a KiB, more than what fills them.
#pragma once
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/buffer.h"

namespace pycnn {

class Arenas {
 public:
  // At most `most` buffers wait to be taken; the smallest go first.
  explicit Arenas(int64_t most = 64) : most_(most) {}
  // A buffer of at least `bytes`: the smallest free one that is large enough, else a new one in place of the largest
  // free one. Thread-safe.
  std::unique_ptr<Buffer> take(int64_t bytes);
  void give(std::unique_ptr<Buffer> buffer);
  int64_t bytes() const;  // of the buffers that no call is using

 private:
  const int64_t most_;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Buffer>> free_;  // by size, smallest first
};

// A buffer of `arenas` for as long as this lives.
class Loan {
 public:
  Loan(std::shared_ptr<Arenas> arenas, int64_t bytes) : arenas_(std::move(arenas)), buffer_(arenas_->take(bytes)) {}
  ~Loan() { arenas_->give(std::move(buffer_)); }
  Loan(const Loan&) = delete;
  Loan& operator=(const Loan&) = delete;
  const Buffer& buffer() const { return *buffer_; }

 private:
  const std::shared_ptr<Arenas> arenas_;
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace pycnn
