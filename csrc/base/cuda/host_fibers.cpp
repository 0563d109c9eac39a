#include "base/cuda/host_fibers.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "base/cuda/host_machine.h"

namespace pycnn::cuda::fibers {

Where here;
Machine m;

uint32_t random_below(uint32_t n) {
  m.random ^= m.random << 13, m.random ^= m.random >> 7, m.random ^= m.random << 17;
  return static_cast<uint32_t>((m.random >> 32) * n >> 32);
}

Fiber& self() { return m.fibers[static_cast<size_t>(here.rank * m.threads + here.thread)]; }
Block& own_block() { return m.blocks[static_cast<size_t>(here.rank)]; }
Warp& own_warp() { return m.warps[static_cast<size_t>((here.rank * m.threads + here.thread) / kWarp)]; }

void give_way(State state) {
  Fiber& fiber = self();
  set_state(fiber, state);
  switch_context(fiber.context, m.main);
}

void fail(const std::string& what) {
  throw std::runtime_error("thread " + std::to_string(here.thread) + " of block (" + std::to_string(here.block_x) +
                           ", " + std::to_string(here.block_y) + "): " + what);
}

namespace {

constexpr size_t kStackBytes = 256 << 10;

void land(Fiber& fiber, int64_t last_group) {
  auto& copies = fiber.copies;
  const auto rest = std::remove_if(copies.begin(), copies.end(), [&](const Copy& copy) {
    if (copy.group > last_group) return false;
    std::memset(copy.to, 0, 16);
    if (copy.too_early) {
      std::memset(copy.to, 0xff, static_cast<size_t>(copy.bytes));
    } else {
      std::memcpy(copy.to, copy.from, static_cast<size_t>(copy.bytes));
    }
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
  // The memory of a block that has ended is another's.
  if (--own_block().live == 0) std::memset(here.shared, 0xff, m.shared_bytes);
  set_state(self(), State::kDone);
  leave_context(self().context, m.main);
}

// The fiber that runs next, null: none can.
Fiber* next_fiber() {
  for (const int warp : m.order) {
    if (m.warps[static_cast<size_t>(warp)].able == 0) continue;
    const uint32_t first = random_below(kWarp);
    for (uint32_t i = 0; i < kWarp; ++i) {
      Fiber& fiber = m.fibers[static_cast<size_t>(warp) * kWarp + (first + i) % kWarp];
      if (fiber.state == State::kReady || may_pass(fiber)) return &fiber;
    }
  }
  return nullptr;
}

// Frees those who wait in `state` in m.fibers[first .. first + count).
void release(State state, size_t first, size_t count) {
  for (size_t i = first; i < first + count; ++i)
    if (m.fibers[i].state == state) set_state(m.fibers[i], State::kReady);
  shuffle(m.order);
}

void release_barriers() {
  const auto threads = static_cast<size_t>(m.threads);
  for (size_t rank = 0; rank < m.blocks.size(); ++rank) {
    Block& block = m.blocks[rank];
    if (block.live == 0 || block.at_barrier < block.live) continue;
    block.at_barrier = 0;
    release(State::kAtBarrier, rank * threads, threads);
  }
  if (m.at_cluster_barrier == m.live) {
    m.at_cluster_barrier = 0;
    release(State::kAtClusterBarrier, 0, m.fibers.size());
  }
}

std::string deadlock() {
  const Where& first = m.fibers[0].where;
  int at_barrier = 0;
  for (const Block& block : m.blocks) at_barrier += block.at_barrier;
  return "deadlock in block (" + std::to_string(first.block_x) + ", " + std::to_string(first.block_y) +
         "): " + std::to_string(at_barrier) + " of " + std::to_string(m.live) +
         " threads wait at the barrier, the others for lanes of their warp, for an mbarrier or other threads";
}

void prepare_cluster(int64_t first_block) {
  m.live = static_cast<int>(m.fibers.size()), m.at_cluster_barrier = 0;
  m.flights.clear(), m.tracks = false, m.patience = random_patience();
  for (size_t rank = 0; rank < m.blocks.size(); ++rank) {
    Block& block = m.blocks[rank];
    std::memset(block.shared.get(), 0xff, m.shared_bytes);
    block.live = m.threads, block.at_barrier = 0;
    block.unfenced.clear(), block.named.clear();
    const int64_t index = first_block + static_cast<int64_t>(rank);
    for (int thread = 0; thread < m.threads; ++thread) {
      Fiber& fiber = m.fibers[rank * static_cast<size_t>(m.threads) + static_cast<size_t>(thread)];
      if (!fiber.stack) fiber.stack.reset(new char[kStackBytes]);
      fiber.where = {thread, index % m.grid_x, index / m.grid_x, block.shared.get(), static_cast<int>(rank), m.grid_x};
      fiber.state = State::kReady, fiber.waited = false, fiber.copies.clear(), fiber.group = 0, fiber.bulk_group = 0;
      fiber.unfenced.clear(), fiber.unfenced_mbarriers.clear();
      prepare_context(fiber.context, fiber.stack.get(), kStackBytes, fiber_main);
    }
  }
  for (Warp& warp : m.warps) warp = {}, warp.able = kWarp;
  shuffle(m.order);
}

// What is still under way when the threads have ended finds shared memory that is no longer theirs.
void end_cluster() {
  while (!m.flights.empty()) {
    if (m.flights.back().copy.barrier) throw std::runtime_error("a block ended before a copy into it had landed");
    land_flight();
  }
}

void run_cluster(int64_t first_block) {
  prepare_cluster(first_block);
  while (m.live > 0 && m.error.empty()) {
    release_barriers();
    if (!m.flights.empty() && random_below(m.patience) == 0) land_flight();
    Fiber* next = next_fiber();
    if (!next && !m.flights.empty()) {
      land_flight();
    } else if (!next) {
      m.error = deadlock();
    } else {
      set_state(*next, State::kReady);
      here = next->where;
      switch_context(m.main, next->context);
    }
  }
  if (!m.error.empty()) throw std::runtime_error(m.error);
  end_cluster();
}

}  // namespace

void configure(uint64_t seed, const std::string& drop) {
  m.random = seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
  m.drop = drop;
  m.sites.clear();
}

std::vector<std::string> sites() { return {m.sites.begin(), m.sites.end()}; }

void allow(const void* begin, size_t bytes, bool writable, bool constant) {
  const auto at = reinterpret_cast<uintptr_t>(begin);
  m.ranges.push_back({at, at + bytes, writable, constant});
}

void only_count(bool on) {
  m.counts = on;
  m.launches.clear();
}

std::vector<Launch> launches() { return m.launches; }

void forbid_all() { m.ranges.clear(); }

void run(int64_t grid_x, int64_t grid_y, int threads, int shared_bytes, void (*body)(const void*), const void* context,
         int cluster) {
  if (threads < kWarp || threads > 1024 || threads % kWarp != 0)
    throw std::runtime_error("a block of " + std::to_string(threads) + " threads: expected whole warps, 1024 at most");
  if (cluster < 1 || cluster > 8 || grid_x % cluster != 0)
    throw std::runtime_error("a grid of " + std::to_string(grid_x) + " in clusters of " + std::to_string(cluster));
  if (m.counts) return m.launches.push_back({grid_x, grid_y, threads, shared_bytes, cluster});
  m.threads = threads, m.grid_x = grid_x;
  m.fibers.resize(static_cast<size_t>(threads * cluster));
  m.warps.resize(m.fibers.size() / kWarp);
  m.order.resize(m.warps.size());
  for (size_t i = 0; i < m.order.size(); ++i) m.order[i] = static_cast<int>(i);
  m.shared_bytes = static_cast<size_t>(shared_bytes);
  m.blocks.resize(static_cast<size_t>(cluster));
  for (Block& block : m.blocks)
    block.shared.reset(static_cast<char*>(std::aligned_alloc(128, (m.shared_bytes + 255) / 128 * 128)));
  m.window = 1024 + 128 * random_below(8);
  m.body = body, m.argument = context, m.error.clear();
  std::vector<int64_t> clusters(static_cast<size_t>(grid_x * grid_y / cluster));
  for (size_t i = 0; i < clusters.size(); ++i) clusters[i] = static_cast<int64_t>(i);
  shuffle(clusters);
  for (const int64_t each : clusters) run_cluster(each * cluster);
}

void check_shared(const void* p, size_t bytes) {
  const auto at = reinterpret_cast<uintptr_t>(p), begin = reinterpret_cast<uintptr_t>(here.shared);
  if (at % bytes != 0) fail("shared memory is touched off its alignment of " + std::to_string(bytes) + " bytes");
  if (at < begin || at + bytes > begin + m.shared_bytes)
    fail("byte " + std::to_string(static_cast<int64_t>(at - begin)) + " of " + std::to_string(m.shared_bytes) +
         " bytes of shared memory is touched");
}

void check_global(const void* p, size_t bytes, bool write) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0)
    fail("global memory is touched off its alignment of " + std::to_string(bytes) + " bytes");
  check_range(p, bytes, write);
}

void check_range(const void* p, size_t bytes, bool write) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  for (const Range& range : m.ranges)
    if (at >= range.begin && at + bytes <= range.end && (range.writable || !write)) return;
  std::string where = "not near any tensor";
  for (const Range& range : m.ranges)
    if (at + 4096 >= range.begin && at < range.end + 4096)
      where = "at byte " + std::to_string(static_cast<int64_t>(at - range.begin)) + " of a " +
              (range.writable ? "writable" : "read-only") + " tensor of " + std::to_string(range.end - range.begin);
  fail(std::to_string(bytes) + " bytes of global memory are " + (write ? "written " : "read ") + where);
}

void wait_for_earlier() { self().waited = true; }

bool too_early(const void* p) {
  if (self().waited) return false;
  const auto at = reinterpret_cast<uintptr_t>(p);
  return std::none_of(m.ranges.begin(), m.ranges.end(),
                      [&](const Range& r) { return r.constant && at >= r.begin && at < r.end; });
}

bool site(const char* kind, const char* file, int line) {
  const char* slash = std::strrchr(file, '/');
  const std::string name = std::string(kind) + " " + (slash ? slash + 1 : file) + ":" + std::to_string(line);
  m.sites.insert(name);
  return name != m.drop;
}

void block_barrier() {
  ++own_block().at_barrier;
  give_way(State::kAtBarrier);
}

void warp_exchange(Combine combine, void* slot) {
  Warp& warp = own_warp();
  if (warp.arrived > 0 && warp.combine != combine) fail("lanes of one warp are at different warp operations");
  warp.combine = combine;
  warp.slots[here.thread % kWarp] = slot;
  if (++warp.arrived < kWarp) return give_way(State::kInWarp);
  warp.arrived = 0;
  combine(warp.slots);
  Fiber* first = &self() - here.thread % kWarp;
  for (int lane = 0; lane < kWarp; ++lane) set_state(first[lane], State::kReady);
}

void async_copy(void* to, const void* from, int bytes) {
  check_shared(to, 16);
  if (bytes < 0 || bytes > 16) fail("cp_async16 of " + std::to_string(bytes) + " bytes");
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) fail("cp_async16 from an address that is no multiple of 16");
  // The whole 16 bytes need not be there: only what is asked for is read.
  for (int i = 0; i < bytes; ++i) check_global(static_cast<const char*>(from) + i, 1, false);
  std::memset(to, 0xff, 16);
  Fiber& fiber = self();
  fiber.copies.push_back({to, from, bytes, random_below(2) ? fiber.group : -1, bytes > 0 && too_early(from)});
  land(fiber, -1);
}

void async_commit() { ++self().group; }

void async_wait(int flying) { land(self(), self().group - 1 - flying); }

}  // namespace pycnn::cuda::fibers
