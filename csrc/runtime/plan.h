// A flat list of steps over one arena, built once per input shape, run any number of times from any thread.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/arenas.h"
#include "runtime/op_table.h"
#include "runtime/slot.h"

namespace pycnn {

class Plan {
 public:
  using Slots = std::array<Slot, 6>;

  // Sizes in bytes; workspace_bytes is the largest any step asks for. pool: our threads (true) or OpenMP's. wakes: whether
  // sleeping ones of ours are woken. arenas: where the plan takes its memory from; null: from its own.
  Plan(int64_t arena_bytes, int64_t workspace_bytes, int workers, int inputs, int outputs, bool pool,
       std::shared_ptr<Arenas> arenas, bool wakes);

  // Slots: x, residual, w, bias, y, gate. Throws std::invalid_argument when the kernel refuses or a slot is out of range.
  void add(const std::string& op, const std::string& kernel, std::shared_ptr<void> params, const Slots& slots);

  // The steps from `begin` up to `end` describe one image each and are run for `images` of them, one image after the
  // other by one worker (depth first), so that what passes between them stays in its cache and nobody waits at a
  // barrier; images that are left over when each worker has had as many are shared. Sections come in order.
  void section(size_t begin, size_t end, int64_t images);

  // Blocks until done. Thread-safe: every call takes an arena of its own.
  void run(const void* const* inputs, void* const* outputs);
  // The same in the caller's memory, kAlign-aligned, of memory_bytes(): values lie at their offsets afterwards.
  void run_in(void* memory, const void* const* inputs, void* const* outputs) const;
  // The same, with the clock read around each step by each worker: nanoseconds of the steady clock,
  // times[(step * workers + worker) * 2] at its begin, the next at its end; 0: that worker did not take part.
  std::vector<int64_t> run_timed(const void* const* inputs, void* const* outputs);

  int inputs() const { return inputs_; }
  int outputs() const { return outputs_; }
  int workers() const { return workers_; }
  int64_t arena_bytes() const { return arena_bytes_; }
  int64_t memory_bytes() const;  // arena and workspace
  size_t steps() const { return steps_.size(); }

 private:
  struct Step {
    const AnyKernel* kernel;
    std::shared_ptr<void> params;
    Slots slots;
  };
  struct Section {
    size_t begin, end;
    int64_t images;
    int64_t own_workspace;  // bytes, of a worker that has an image to itself: those of its most demanding step
  };
  struct Call;

  void check(const Slot& slot) const;
  void check(const Slot& slot, const Section& section) const;
  template <class Clock>
  void execute(char* arena, const void* const* inputs, void* const* outputs, const Clock& clock) const;

  const int64_t arena_bytes_, workspace_bytes_;
  const int workers_, inputs_, outputs_;
  const bool pool_, wakes_;
  std::vector<Step> steps_;
  std::vector<Section> sections_;
  const std::shared_ptr<Arenas> arenas_;
};

}  // namespace pycnn
