#include "runtime/cuda/plan.h"

#include <stdexcept>

namespace pycnn::cuda {

Plan::Plan(int64_t arena_bytes, int inputs, int outputs)
    : arena_bytes_(arena_bytes), inputs_(inputs), outputs_(outputs) {
  if (arena_bytes < 0 || inputs < 0 || outputs < 0)
    throw std::invalid_argument("Plan: arena_bytes, n_inputs and n_outputs must not be negative");
}

void Plan::check(const Slot& slot) const {
  const int64_t end = slot.kind == Slot::kArena    ? arena_bytes_
                      : slot.kind == Slot::kInput  ? inputs_
                      : slot.kind == Slot::kOutput ? outputs_
                                                   : INT64_MAX;
  // A value of no elements may lie at the arena's end.
  if (slot.value < 0 || slot.offset < 0 || slot.value > end || (slot.kind != Slot::kArena && slot.value == end))
    throw std::invalid_argument("Plan.add: a slot's " + std::to_string(slot.value) + " is out of range");
}

void Plan::add(const std::string& op, const std::string& kernel, std::shared_ptr<void> params,
               const Slot (&slots)[kSlots]) {
  const AnyKernel& found = find_kernel(find_op(op), kernel);
  if (const char* reason = found.why_not(found.kernel, params.get()))
    throw std::invalid_argument("Plan.add: " + kernel + " refuses: " + reason);
  Step step{&found, std::move(params), {}};
  for (int i = 0; i < kSlots; ++i) {
    check(slots[i]);
    step.slots[i] = slots[i];
  }
  steps_.push_back(std::move(step));
}

void Plan::run(void* arena, const uintptr_t* inputs, const uintptr_t* outputs, Stream stream, size_t begin,
               size_t end) const {
  const auto resolve = [&](const Slot& slot) -> void* {
    switch (slot.kind) {
      case Slot::kArena:
        return static_cast<char*>(arena) + slot.value;
      case Slot::kConst:
        return reinterpret_cast<void*>(slot.value);
      case Slot::kInput:
        return reinterpret_cast<char*>(inputs[slot.value]) + slot.offset;
      case Slot::kOutput:
        return reinterpret_cast<char*>(outputs[slot.value]) + slot.offset;
      default:
        return nullptr;
    }
  };
  for (size_t i = begin; i < end && i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    const Slot(&s)[kSlots] = step.slots;
    const Ptrs ptrs{resolve(s[0]), resolve(s[1]), resolve(s[2]), static_cast<const float*>(resolve(s[3])),
                    resolve(s[4]), resolve(s[5])};
    if (const char* reason = step.kernel->launch(step.kernel->kernel, step.params.get(), ptrs, stream))
      throw std::runtime_error("step " + std::to_string(i) + ", " + step.kernel->name + ": " + reason);
  }
}

}  // namespace pycnn::cuda
