#include "runtime/plan.h"

#include <algorithm>
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
  void section(size_t, size_t, Worker) const {}
};

// In a section a worker comes to each step again and again: its end is then its begin and the sum of its times, and
// section() moves the steps one behind the other.
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
  void begin(size_t step, Worker worker) const {
    int64_t* t = at(step, worker);
    const int64_t spent = t[1] - t[0];
    t[1] = now() - spent;
    if (t[0] == 0) t[0] = t[1];
  }
  void end(size_t step, Worker worker) const {
    int64_t* t = at(step, worker);
    t[1] = t[0] + now() - t[1];
  }
  void section(size_t begin, size_t end, Worker worker) const {
    for (size_t i = begin + 1; i < end; ++i) {
      int64_t *t = at(i, worker), *before = at(i - 1, worker);
      t[1] += before[1] - t[0];
      t[0] = before[1];
    }
  }
};

}  // namespace

struct Plan::Call {
  const Plan& plan;
  char* arena;
  const void* const* inputs;
  void* const* outputs;
  Barrier barrier;

  // worker: whose own memory the slot is in.
  void* resolve(const Slot& slot, int64_t image, int worker) const {
    const int64_t moved = image * slot.image + worker * slot.worker;
    switch (slot.kind) {
      case Slot::kArena:
        return arena + slot.value + moved;
      case Slot::kConst:
        return reinterpret_cast<void*>(slot.value);
      case Slot::kInput:
        return static_cast<char*>(const_cast<void*>(inputs[slot.value])) + slot.offset + moved;
      case Slot::kOutput:
        return static_cast<char*>(outputs[slot.value]) + slot.offset + moved;
      default:
        return nullptr;
    }
  }

  // Of `image`, in the memory of worker `own` of a section; `share` is what `worker` does of it.
  template <class Clock>
  void step(size_t i, Worker worker, Worker share, int64_t image, int own, int64_t workspace, const Clock& clock) {
    const Step& step = plan.steps_[i];
    const Slots& s = step.slots;
    const auto floats = [&](int i) { return static_cast<const float*>(resolve(s[i], image, own)); };
    const AnyPtrs ptrs{resolve(s[0], image, own),
                       resolve(s[1], image, own),
                       floats(2),
                       floats(3),
                       resolve(s[4], image, own),
                       reinterpret_cast<float*>(arena + aligned(plan.arena_bytes_) + own * workspace),
                       resolve(s[5], image, own)};
    clock.begin(i, worker);
    step.kernel->run(step.kernel->kernel, step.params.get(), ptrs, share);
    clock.end(i, worker);
  }

  template <class Clock>
  void section(const Section& section, Worker worker, int& sense, const Clock& clock) {
    const int64_t alone = section.images / worker.count * worker.count;
    for (int64_t image = worker.id; image < alone; image += worker.count)
      for (size_t i = section.begin; i < section.end; ++i)
        step(i, worker, {0, 1}, image, worker.id, section.own_workspace, clock);
    for (int64_t image = alone; image < section.images; ++image)
      for (size_t i = section.begin; i < section.end; ++i) {
        barrier.wait(sense, worker);
        step(i, worker, worker, image, 0, 0, clock);
      }
    clock.section(section.begin, section.end, worker);
  }

  template <class Clock>
  void work(Worker worker, const Clock& clock) {
    int sense = 0;
    auto next = plan.sections_.begin();
    for (size_t i = 0; i < plan.steps_.size();) {
      if (i > 0) barrier.wait(sense, worker);
      if (next != plan.sections_.end() && next->begin == i) {
        section(*next, worker, sense, clock);
        i = (next++)->end;
      } else {
        step(i++, worker, worker, 0, 0, 0, clock);
      }
    }
  }
};

Plan::Plan(int64_t arena_bytes, int64_t workspace_bytes, int workers, int inputs, int outputs, bool pool,
           std::shared_ptr<Arenas> arenas, bool wakes)
    : arena_bytes_(arena_bytes),
      workspace_bytes_(workspace_bytes),
      workers_(workers),
      inputs_(inputs),
      outputs_(outputs),
      pool_(pool),
      wakes_(wakes),
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

void Plan::add(const std::string& op, const std::string& kernel, std::shared_ptr<void> params, const Slots& slots) {
  const AnyKernel& found = find_kernel(find_op(op), kernel);
  if (const char* reason = found.why_not(found.kernel, params.get()))
    throw std::invalid_argument("Plan.add: " + kernel + " refuses: " + reason);
  const int64_t need = found.workspace(found.kernel, params.get(), workers_) * static_cast<int64_t>(sizeof(float));
  if (need > workspace_bytes_)
    throw std::invalid_argument("Plan.add: " + kernel + " needs " + std::to_string(need) +
                                " bytes of workspace, the plan has " + std::to_string(workspace_bytes_));
  for (const Slot& slot : slots) check(slot);
  steps_.push_back({&found, std::move(params), slots});
}

void Plan::check(const Slot& slot, const Section& section) const {
  const int64_t last = (section.images - 1) * slot.image + (workers_ - 1) * slot.worker;
  if (slot.image < 0 || slot.worker < 0 || (slot.kind == Slot::kArena && slot.value + last > arena_bytes_))
    throw std::invalid_argument("Plan.section: a slot of image " + std::to_string(section.images - 1) +
                                " is out of range");
}

void Plan::section(size_t begin, size_t end, int64_t images) {
  if (begin >= end || end > steps_.size() || images < 1 || (!sections_.empty() && begin < sections_.back().end))
    throw std::invalid_argument("Plan.section: steps " + std::to_string(begin) + " to " + std::to_string(end) + " of " +
                                std::to_string(steps_.size()) + " for " + std::to_string(images) +
                                " images: not a section, or not behind the last");
  Section made{begin, end, images, 0};
  for (size_t i = begin; i < end; ++i) {
    const Step& step = steps_[i];
    for (const Slot& slot : step.slots) check(slot, made);
    const int64_t floats = step.kernel->workspace(step.kernel->kernel, step.params.get(), 1);
    made.own_workspace = std::max(made.own_workspace, aligned(floats * static_cast<int64_t>(sizeof(float))));
  }
  if (made.own_workspace * workers_ > aligned(workspace_bytes_))
    throw std::invalid_argument("Plan.section: " + std::to_string(workers_) + " workers need more workspace than " +
                                std::to_string(workspace_bytes_) + " bytes");
  sections_.push_back(made);
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
      &context, wakes_ ? Wake::kAlways : Wake::kIfAwake);
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
