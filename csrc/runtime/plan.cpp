#include "runtime/plan.h"

#include <chrono>
#include <stdexcept>

#include "base/parallel.h"

namespace pycnn {
namespace {

int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// Told where each worker's share of a step begins and ends; this one costs nothing.
struct NoClock {
  void begin(size_t, Worker) const {}
  void end(size_t, Worker) const {}
};

struct StepClock {
  int64_t* times;
  int workers;

  static int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
  int64_t* at(size_t step, Worker worker) const {
    return times + (static_cast<int64_t>(step) * workers + worker.id) * 2;
  }
  void begin(size_t step, Worker worker) const { at(step, worker)[0] = now(); }
  void end(size_t step, Worker worker) const { at(step, worker)[1] = now(); }
};

}  // namespace

struct Plan::Call {
  const Plan& plan;
  char* arena;
  const void* const* inputs;
  void* const* outputs;
  Barrier barrier;

  float* resolve(const Slot& slot) const {
    switch (slot.kind) {
      case Slot::kArena:
        return reinterpret_cast<float*>(arena + slot.value);
      case Slot::kConst:
        return reinterpret_cast<float*>(slot.value);
      case Slot::kInput:
        return reinterpret_cast<float*>(static_cast<char*>(const_cast<void*>(inputs[slot.value])) + slot.offset);
      case Slot::kOutput:
        return reinterpret_cast<float*>(static_cast<char*>(outputs[slot.value]) + slot.offset);
      default:
        return nullptr;
    }
  }

  template <class Clock>
  void work(Worker worker, const Clock& clock) {
    int sense = 0;
    float* workspace = reinterpret_cast<float*>(arena + aligned(plan.arena_bytes_));
    for (size_t i = 0; i < plan.steps_.size(); ++i) {
      const Step& step = plan.steps_[i];
      if (i > 0) barrier.wait(sense, worker.count);
      const Ptrs ptrs{resolve(step.slots[0]), resolve(step.slots[1]), resolve(step.slots[2]),
                      resolve(step.slots[3]), resolve(step.slots[4]), workspace};
      clock.begin(i, worker);
      step.kernel->run(step.kernel->kernel, step.params.get(), ptrs, worker);
      clock.end(i, worker);
    }
  }
};

Plan::Plan(int64_t arena_bytes, int64_t workspace_bytes, int workers, int inputs, int outputs, bool pool,
           std::shared_ptr<Arenas> arenas)
    : arena_bytes_(arena_bytes),
      workspace_bytes_(workspace_bytes),
      workers_(workers),
      inputs_(inputs),
      outputs_(outputs),
      pool_(pool),
      arenas_(arenas ? std::move(arenas) : std::make_shared<Arenas>()) {
  if (arena_bytes < 0 || workspace_bytes < 0 || workers < 1 || inputs < 0 || outputs < 0)
    throw std::invalid_argument("Plan: sizes must not be negative and workers at least 1");
}

void Plan::check(const Slot& slot) const {
  const bool bad = (slot.kind == Slot::kArena && (slot.value < 0 || slot.value > arena_bytes_)) ||
                   (slot.kind == Slot::kInput && (slot.value < 0 || slot.value >= inputs_)) ||
                   (slot.kind == Slot::kOutput && (slot.value < 0 || slot.value >= outputs_));
  if (bad) throw std::invalid_argument("Plan.add: slot value " + std::to_string(slot.value) + " is out of range");
}

void Plan::add(const std::string& op, const std::string& kernel, std::shared_ptr<void> params, const Slot (&slots)[5]) {
  const AnyKernel& found = find_kernel(find_op(op), kernel);
  if (const char* reason = found.why_not(found.kernel, params.get()))
    throw std::invalid_argument("Plan.add: " + kernel + " refuses: " + reason);
  const int64_t need = found.workspace(found.kernel, params.get(), workers_) * static_cast<int64_t>(sizeof(float));
  if (need > workspace_bytes_)
    throw std::invalid_argument("Plan.add: " + kernel + " needs " + std::to_string(need) +
                                " bytes of workspace, the plan has " + std::to_string(workspace_bytes_));
  Step step{&found, std::move(params), {}};
  for (int i = 0; i < 5; ++i) {
    check(slots[i]);
    step.slots[i] = slots[i];
  }
  steps_.push_back(std::move(step));
}

int64_t Plan::memory_bytes() const { return aligned(arena_bytes_) + aligned(workspace_bytes_); }

template <class Clock>
void Plan::execute(char* arena, const void* const* inputs, void* const* outputs, const Clock& clock) const {
  struct Context {
    Call call;
    const Clock& clock;
  } context{{*this, arena, inputs, outputs, {}}, clock};
  parallel(
      workers_, pool_ ? Backend::kPool : Backend::kOpenMP,
      [](void* raw, Worker worker) {
        auto& c = *static_cast<Context*>(raw);
        c.call.work(worker, c.clock);
      },
      &context);
}

void Plan::run(const void* const* inputs, void* const* outputs) {
  auto arena = arenas_->take(memory_bytes());
  execute(reinterpret_cast<char*>(arena->data()), inputs, outputs, NoClock{});
  arenas_->give(std::move(arena));
}

void Plan::run_in(void* memory, const void* const* inputs, void* const* outputs) const {
  if (reinterpret_cast<uintptr_t>(memory) % kAlign != 0)
    throw std::invalid_argument("Plan.run_in: the memory is not aligned to " + std::to_string(kAlign) + " bytes");
  execute(static_cast<char*>(memory), inputs, outputs, NoClock{});
}

std::vector<int64_t> Plan::run_timed(const void* const* inputs, void* const* outputs) {
  std::vector<int64_t> times(steps_.size() * static_cast<size_t>(workers_) * 2, 0);
  auto arena = arenas_->take(memory_bytes());
  execute(reinterpret_cast<char*>(arena->data()), inputs, outputs, StepClock{times.data(), workers_});
  arenas_->give(std::move(arena));
  return times;
}

}  // namespace pycnn
