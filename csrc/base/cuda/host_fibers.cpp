#include "base/cuda/host_fibers.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <stdexcept>

#include "base/cuda/host_switch.h"

namespace pycnn::cuda::fibers {

Where here;

namespace {

constexpr size_t kStackBytes = 256 << 10;

struct Range {
  uintptr_t begin, end;
  bool writable;
};

struct Copy {
  void* to;
  const void* from;
  int bytes;
  int64_t group;
};

enum class State { kReady, kAtBarrier, kInWarp, kDone };

struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Context context;
  State state = State::kReady;
  std::vector<Copy> copies;
  int64_t group = 0;
};

struct Warp {
  Combine combine = nullptr;
  void* slots[kWarp];
  int arrived = 0;
};

struct Free {
  void operator()(char* p) const { std::free(p); }
};

// One launch at a time: the tests run kernels on one thread of the process.
struct Machine {
  uint64_t random = 1;
  std::string drop;
  std::set<std::string> sites;
  std::vector<Range> ranges;
  bool counts = false;
  std::vector<Launch> launches;

  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<int> order;  // of the warps: the first that can run runs
  std::unique_ptr<char, Free> shared;
  size_t shared_bytes = 0;
  int live = 0, at_barrier = 0;
  void (*body)(const void*) = nullptr;
  const void* argument = nullptr;
  std::string error;
  Context main;
} m;

uint32_t random_below(uint32_t n) {
  m.random ^= m.random << 13, m.random ^= m.random >> 7, m.random ^= m.random << 17;
  return static_cast<uint32_t>((m.random >> 32) * n >> 32);
}

template <class T>
void shuffle(std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random_below(static_cast<uint32_t>(i))]);
}

Fiber& self() { return m.fibers[static_cast<size_t>(here.thread)]; }

void give_way(State state) {
  Fiber& fiber = self();
  fiber.state = state;
  switch_context(fiber.context, m.main);
}

void fail(const std::string& what) {
  throw std::runtime_error("thread " + std::to_string(here.thread) + " of block (" + std::to_string(here.block_x) +
                           ", " + std::to_string(here.block_y) + "): " + what);
}

void land(Fiber& fiber, int64_t last_group) {
  auto& copies = fiber.copies;
  const auto rest = std::remove_if(copies.begin(), copies.end(), [&](const Copy& copy) {
    if (copy.group > last_group) return false;
    std::memset(copy.to, 0, 16);
    std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    return true;
  });
  copies.erase(rest, copies.end());
}

void fiber_main() {
  entered_context(m.main);
  std::string error;
  try {
    m.body(m.argument);
  } catch (const std::exception& e) {
    error = e.what();
  }
  if (m.error.empty()) m.error = error;
  --m.live;
  self().state = State::kDone;
  leave_context(self().context, m.main);
}

// The thread that runs next, -1: none can.
int next_thread() {
  for (const int warp : m.order) {
    const uint32_t first = random_below(kWarp);
    for (uint32_t i = 0; i < kWarp; ++i) {
      const int thread = warp * kWarp + static_cast<int>((first + i) % kWarp);
      if (m.fibers[static_cast<size_t>(thread)].state == State::kReady) return thread;
    }
  }
  return -1;
}

void run_block() {
  std::memset(m.shared.get(), 0xff, m.shared_bytes);
  m.live = static_cast<int>(m.fibers.size()), m.at_barrier = 0;
  for (Fiber& fiber : m.fibers) {
    fiber.state = State::kReady, fiber.copies.clear(), fiber.group = 0;
    prepare_context(fiber.context, fiber.stack.get(), kStackBytes, fiber_main);
  }
  for (Warp& warp : m.warps) warp.arrived = 0;
  shuffle(m.order);
  while (m.live > 0 && m.error.empty()) {
    if (m.at_barrier == m.live) {
      for (Fiber& fiber : m.fibers)
        if (fiber.state == State::kAtBarrier) fiber.state = State::kReady;
      m.at_barrier = 0;
      shuffle(m.order);
    }
    here.thread = next_thread();
    if (here.thread < 0) {
      m.error = "deadlock in block (" + std::to_string(here.block_x) + ", " + std::to_string(here.block_y) +
                "): " + std::to_string(m.at_barrier) + " of " + std::to_string(m.live) +
                " threads wait at the barrier, the " + "others for lanes of their warp";
      break;
    }
    switch_context(m.main, self().context);
  }
  if (!m.error.empty()) throw std::runtime_error(m.error);
}

}  // namespace

void configure(uint64_t seed, const std::string& drop) {
  m.random = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
  m.drop = drop;
  m.sites.clear();
}

std::vector<std::string> sites() { return {m.sites.begin(), m.sites.end()}; }

void allow(const void* begin, size_t bytes, bool writable) {
  const auto at = reinterpret_cast<uintptr_t>(begin);
  m.ranges.push_back({at, at + bytes, writable});
}

void only_count(bool on) {
  m.counts = on;
  m.launches.clear();
}

std::vector<Launch> launches() { return m.launches; }

void forbid_all() { m.ranges.clear(); }

void run(int64_t grid_x, int64_t grid_y, int threads, int shared_bytes, void (*body)(const void*),
         const void* context) {
  if (threads < kWarp || threads > 1024 || threads % kWarp != 0)
    throw std::runtime_error("a block of " + std::to_string(threads) + " threads: expected whole warps, 1024 at most");
  if (m.counts) return m.launches.push_back({grid_x, grid_y, threads, shared_bytes});
  m.fibers.resize(static_cast<size_t>(threads));
  m.warps.resize(static_cast<size_t>(threads / kWarp));
  m.order.resize(m.warps.size());
  for (size_t i = 0; i < m.order.size(); ++i) m.order[i] = static_cast<int>(i);
  m.shared_bytes = static_cast<size_t>(shared_bytes);
  m.shared.reset(static_cast<char*>(std::aligned_alloc(128, (m.shared_bytes + 255) / 128 * 128)));
  m.body = body, m.argument = context, m.error.clear();
  here.shared = m.shared.get();
  std::vector<int64_t> blocks(static_cast<size_t>(grid_x * grid_y));
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int64_t>(i);
  shuffle(blocks);
  for (const int64_t block : blocks) {
    here.block_x = block % grid_x, here.block_y = block / grid_x;
    run_block();
  }
}

void check_shared(const void* p, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(p), begin = reinterpret_cast<uintptr_t>(here.shared);
  if (at % bytes != 0) fail("shared memory is touched off its alignment of " + std::to_string(bytes) + " bytes");
  if (at < begin || at + bytes > begin + m.shared_bytes)
    fail("byte " + std::to_string(static_cast<int64_t>(at - begin)) + " of " + std::to_string(m.shared_bytes) +
         " bytes of shared memory is touched");
}

void check_global(const void* p, size_t bytes, bool write) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  if (at % bytes != 0) fail("global memory is touched off its alignment of " + std::to_string(bytes) + " bytes");
  for (const Range& range : m.ranges)
    if (at >= range.begin && at + bytes <= range.end && (range.writable || !write)) return;
  std::string where = "not near any tensor";
  for (const Range& range : m.ranges)
    if (at + 4096 >= range.begin && at < range.end + 4096)
      where = "at byte " + std::to_string(static_cast<int64_t>(at - range.begin)) + " of a " +
              (range.writable ? "writable" : "read-only") + " tensor of " + std::to_string(range.end - range.begin);
  fail(std::to_string(bytes) + " bytes of global memory are " + (write ? "written " : "read ") + where);
}

bool site(const char* kind, const char* file, int line) {
  const char* slash = std::strrchr(file, '/');
  const std::string name = std::string(kind) + " " + (slash ? slash + 1 : file) + ":" + std::to_string(line);
  m.sites.insert(name);
  return name != m.drop;
}

void block_barrier() {
  ++m.at_barrier;
  give_way(State::kAtBarrier);
}

void warp_exchange(Combine combine, void* slot) {
  const int first = here.thread / kWarp * kWarp;
  Warp& warp = m.warps[static_cast<size_t>(here.thread / kWarp)];
  if (warp.arrived > 0 && warp.combine != combine) fail("lanes of one warp are at different warp operations");
  warp.combine = combine;
  warp.slots[here.thread % kWarp] = slot;
  if (++warp.arrived < kWarp) return give_way(State::kInWarp);
  warp.arrived = 0;
  combine(warp.slots);
  for (int lane = 0; lane < kWarp; ++lane) m.fibers[static_cast<size_t>(first + lane)].state = State::kReady;
}

void async_copy(void* to, const void* from, int bytes) {
  check_shared(to, 16);
  if (bytes < 0 || bytes > 16) fail("cp_async16 of " + std::to_string(bytes) + " bytes");
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fail("cp_async16 from an address that is no multiple of 16");
  // The whole 16 bytes need not be there: only what is asked for is read.
  for (int i = 0; i < bytes; ++i) check_global(static_cast<const char*>(from) + i, 1, false);
  std::memset(to, 0xff, 16);
  Fiber& fiber = self();
  fiber.copies.push_back({to, from, bytes, random_below(2) ? fiber.group : -1});
  land(fiber, -1);
}

void async_commit() { ++self().group; }

void async_wait(int flying) { land(self(), self().group - 1 - flying); }

}  // namespace pycnn::cuda::fibers
