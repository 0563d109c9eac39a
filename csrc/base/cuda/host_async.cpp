#include "base/cuda/host_async.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "base/cuda/host_machine.h"

namespace pycnn::cuda::fibers {
namespace {

// What 8 bytes of shared memory hold as an mbarrier. Memory that was not initialised has negative counts.
struct Mbarrier {
  int16_t expected, pending;  // arrivals of a phase; those still to come
  int32_t bytes : 31;         // that TMA has still to bring
  uint32_t phase : 1;
};
static_assert(sizeof(Mbarrier) == 8);

Mbarrier read_mbarrier(const uint64_t* p) {
  check_shared(p, sizeof *p);
  Mbarrier b;
  std::memcpy(&b, p, sizeof b);
  if (b.expected <= 0) fail("an mbarrier is used that was not initialised");
  return b;
}

void write_mbarrier(uint64_t* p, Mbarrier b) {
  if (b.pending == 0 && b.bytes == 0) {
    b.phase ^= 1u, b.pending = b.expected;
    shuffle(m.order);
  }
  std::memcpy(p, &b, sizeof b);
}

bool phase_is_over(const uint64_t* p, int parity) {
  Mbarrier b;
  std::memcpy(&b, p, sizeof b);
  return static_cast<int>(b.phase) != parity;
}

// The block whose shared memory has p.
Block& block_of(const void* p) {
  const auto at = reinterpret_cast<uintptr_t>(p);
  for (Block& block : m.blocks) {
    const auto begin = reinterpret_cast<uintptr_t>(block.shared.get());
    if (at >= begin && at < begin + m.shared_bytes) return block;
  }
  throw std::runtime_error("an address is in no block's shared memory");
}

uint32_t address_in(const Block& block, const void* p) {
  return m.window + static_cast<uint32_t>(static_cast<const char*>(p) - block.shared.get());
}

// Pixel `row` of a box of an im2col map, from its first one on; false: past the last image.
bool im2col_pixel(const TmaCopy& c, int64_t row, int64_t (&at)[4]) {
  const TensorMapSpec& s = c.map;
  int64_t w = c.at[1], h = c.at[2], n = c.at[3];
  for (int64_t i = 0; i < row; ++i) {
    w += s.step[0];
    if (w > static_cast<int64_t>(s.dim[1]) - 1 + s.upper[0]) w = s.lower[0], h += s.step[1];
    if (h > static_cast<int64_t>(s.dim[2]) - 1 + s.upper[1]) h = s.lower[1], ++n;
  }
  at[0] = c.at[0], at[1] = w + c.offset[0], at[2] = h + c.offset[1], at[3] = n;
  return n < static_cast<int64_t>(s.dim[3]);
}

// The first element of a box's row in global memory, null where all of it lies outside; how many elements are inside.
char* row_start(const TmaCopy& c, int64_t row, int64_t& inside) {
  const TensorMapSpec& s = c.map;
  int64_t at[4] = {c.at[0], c.at[1] + row, 0, 0};
  if (s.im2col) im2col_pixel(c, row, at);
  int64_t offset = at[0] * kMapElement;
  for (int i = 1; i < s.rank(); ++i) {
    if (at[i] < 0 || at[i] >= static_cast<int64_t>(s.dim[i])) return nullptr;
    offset += at[i] * static_cast<int64_t>(s.stride[i - 1]);
  }
  inside = std::min<int64_t>(s.box[0], static_cast<int64_t>(s.dim[0]) - at[0]);
  if (inside <= 0) return nullptr;
  return static_cast<char*>(const_cast<void*>(s.address)) + offset;
}

// Element e of a row in shared memory, swizzled.
char* swizzled(const Block& block, const TmaCopy& c, int64_t row, int64_t e) {
  const uint32_t begin = address_in(block, c.shared);
  const auto at = static_cast<uint32_t>(row * c.map.box[0] * kMapElement + e * kMapElement);
  return block.shared.get() + (swizzle128(begin + at) - m.window);
}

void move_rows(const Flight& flight, const Block& block) {
  const TmaCopy& c = flight.copy;
  const bool load = c.barrier != nullptr;
  for (int64_t row = 0; row < c.map.box[1]; ++row) {
    int64_t inside = 0;
    char* global = row_start(c, row, inside);
    if (global) check_range(global, static_cast<size_t>(inside) * kMapElement, !load);
    for (int64_t e = 0; e < c.map.box[0]; ++e) {
      char* shared = swizzled(block, c, row, e);
      const bool there = global && e < inside;
      if (load && there && !flight.poisoned) std::memcpy(shared, global + e * kMapElement, kMapElement);
      if (load && there && flight.poisoned) std::memset(shared, 0xff, kMapElement);
      if (load && !there) std::memset(shared, 0, kMapElement);
      if (!load && there && !flight.poisoned) std::memcpy(global + e * kMapElement, shared, kMapElement);
      if (!load && there && flight.poisoned) std::memset(global + e * kMapElement, 0xff, kMapElement);
    }
  }
}

bool stores_fly(const Fiber& fiber) {
  return std::any_of(m.flights.begin(), m.flights.end(),
                     [&](const Flight& f) { return f.by == &fiber && !f.copy.barrier && f.group < fiber.bulk_group; });
}

}  // namespace

uint32_t shared_address(const void* p) { return address_in(block_of(p), p); }

char* shared_at(uint32_t address, int64_t bytes) {
  const int64_t offset = static_cast<int64_t>(address) - m.window;
  if (offset < 0 || offset + bytes > static_cast<int64_t>(m.shared_bytes)) fail("a descriptor leaves shared memory");
  return own_block().shared.get() + offset;
}

bool may_pass(const Fiber& fiber) {
  if (fiber.state == State::kAtMbarrier) return phase_is_over(fiber.mbarrier, fiber.parity);
  return fiber.state == State::kAtBulkWait && !stores_fly(fiber);
}

void land_flight() {
  const size_t which = random_below(static_cast<uint32_t>(m.flights.size()));
  const Flight flight = m.flights[which];
  m.flights.erase(m.flights.begin() + static_cast<std::ptrdiff_t>(which));
  m.patience = random_patience();
  here = flight.by->where;
  move_rows(flight, block_of(flight.copy.shared));
  if (!flight.copy.barrier) return;
  Mbarrier b = read_mbarrier(flight.copy.barrier);
  b.bytes -= static_cast<int32_t>(flight.copy.map.box[0] * flight.copy.map.box[1] * kMapElement);
  write_mbarrier(flight.copy.barrier, b);
}

void mbarrier_init(uint64_t* barrier, int arrivals) {
  check_shared(barrier, sizeof *barrier);
  if (arrivals < 1 || arrivals > 1024) fail("an mbarrier of " + std::to_string(arrivals) + " arrivals");
  write_mbarrier(barrier, {static_cast<int16_t>(arrivals), static_cast<int16_t>(arrivals), 0, 0});
  self().unfenced_mbarriers.push_back(barrier);
  m.tracks = true;
}

void mbarrier_init_fence() { self().unfenced_mbarriers.clear(); }

void mbarrier_arrive(uint64_t* barrier, int bytes) {
  Mbarrier b = read_mbarrier(barrier);
  if (b.pending == 0) fail("an mbarrier has more arrivals than it was initialised for");
  if (bytes < 0 || b.bytes + bytes >= 1 << 20) fail("an mbarrier expects 2^20 bytes or more");
  --b.pending, b.bytes += bytes;
  write_mbarrier(barrier, b);
}

void mbarrier_wait(const uint64_t* barrier, int parity) {
  read_mbarrier(barrier);
  if (phase_is_over(barrier, parity)) return;
  self().mbarrier = barrier, self().parity = parity;
  give_way(State::kAtMbarrier);
}

void tma_copy(const TmaCopy& copy) {
  const TensorMapSpec& s = copy.map;
  if (const char* limit = tensor_map_limit(s)) fail(std::string("a tensor map is wrong: ") + limit);
  const size_t bytes = size_t{s.box[0]} * s.box[1] * kMapElement;
  check_shared(copy.shared, 128);
  check_shared(copy.shared + bytes - 1, 1);
  if (s.box[0] * kMapElement != kSwizzleBytes) fail("a box has rows of other than 128 bytes");
  for (int i = 0; i < 2; ++i)
    if (copy.offset[i] < 0 || copy.offset[i] > kMostOffset) fail("a tap's offset is not within 0..254");
  if (copy.barrier) {
    for (const Fiber& fiber : m.fibers)
      for (const uint64_t* each : fiber.unfenced_mbarriers)
        if (each == copy.barrier) fail("TMA meets an mbarrier whose initialisation no fence made visible");
    std::memset(copy.shared, 0xff, bytes);
  }
  const bool hidden = !copy.barrier && unfenced(copy.shared, bytes);
  m.flights.push_back({copy, &self(), self().bulk_group, hidden || too_early(s.address)});
}

void tma_store_commit() { ++self().bulk_group; }

void tma_store_wait() {
  if (stores_fly(self())) give_way(State::kAtBulkWait);
}

void fence_async() {
  Block& block = own_block();
  for (const auto& [offset, bytes] : self().unfenced)
    std::fill_n(block.unfenced.begin() + static_cast<std::ptrdiff_t>(offset), bytes, false);
  self().unfenced.clear();
}

void shared_written(const void* p, size_t bytes) {
  if (!m.tracks) return;
  Block& block = own_block();
  block.unfenced.resize(m.shared_bytes);
  const auto offset = static_cast<size_t>(static_cast<const char*>(p) - block.shared.get());
  std::fill_n(block.unfenced.begin() + static_cast<std::ptrdiff_t>(offset), bytes, true);
  self().unfenced.push_back({offset, bytes});
}

bool unfenced(const void* p, size_t bytes) {
  const Block& block = own_block();
  if (block.unfenced.empty()) return false;
  const auto first = block.unfenced.begin() + (static_cast<const char*>(p) - block.shared.get());
  return std::find(first, first + static_cast<std::ptrdiff_t>(bytes), true) !=
         first + static_cast<std::ptrdiff_t>(bytes);
}

void named_barrier(int id, int threads) {
  if (id < 1 || id > 15 || threads % kWarp != 0)
    fail("barrier " + std::to_string(id) + " is none of 1..15, or of whole warps");
  Named& barrier = own_block().named[id];
  if (barrier.waiting.empty()) barrier.count = threads;
  if (barrier.count != threads) fail("threads disagree on how many meet at barrier " + std::to_string(id));
  barrier.waiting.push_back(&self());
  if (static_cast<int>(barrier.waiting.size()) < threads) return give_way(State::kAtNamed);
  for (Fiber* fiber : barrier.waiting) set_state(*fiber, State::kReady);
  barrier.waiting.clear();
  shuffle(m.order);
}

void cluster_barrier() {
  ++m.at_cluster_barrier;
  give_way(State::kAtClusterBarrier);
}

const void* in_cluster(const void* p, int rank) {
  if (rank < 0 || rank >= static_cast<int>(m.blocks.size())) fail("no block has rank " + std::to_string(rank));
  return m.blocks[static_cast<size_t>(rank)].shared.get() + (static_cast<const char*>(p) - here.shared);
}

}  // namespace pycnn::cuda::fibers
