// A flat list of kernel launches over one arena of device memory, built once per input shape, run any number of times
// from any thread.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "runtime/cuda/table.h"
#include "runtime/slot.h"

namespace pycnn::cuda {

class Plan {
 public:
  Plan(int64_t arena_bytes, int inputs, int outputs);

  static constexpr int kSlots = 6;

  // Slots: x, residual, w, bias, y, gate; their strides between images and workers are for the CPU's sections. Throws
  // std::invalid_argument when the kernel refuses or a slot is out of range.
  void add(const std::string& op, const std::string& kernel, std::shared_ptr<void> params, const Slot (&slots)[kSlots]);

  // Puts the launches of steps begin <= i < end on `stream` of the current device and returns; arena: arena_bytes() of its
  // memory, which must stay until the stream is through. Throws std::runtime_error naming the step that could not be
  // launched.
  void run(void* arena, const uintptr_t* inputs, const uintptr_t* outputs, Stream stream, size_t begin,
           size_t end) const;

  int inputs() const { return inputs_; }
  int outputs() const { return outputs_; }
  int64_t arena_bytes() const { return arena_bytes_; }
  size_t steps() const { return steps_.size(); }

 private:
  struct Step {
    const AnyKernel* kernel;
    std::shared_ptr<void> params;
    Slot slots[kSlots];
  };

  void check(const Slot& slot) const;

  const int64_t arena_bytes_;
  const int inputs_, outputs_;
  std::vector<Step> steps_;
};

}  // namespace pycnn::cuda
