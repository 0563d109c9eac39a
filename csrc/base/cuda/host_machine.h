// The state behind base/cuda/host_fibers.h, shared by its sources: the blocks of one cluster run together, a fiber for
// each of their threads.
#pragma once
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/cuda/host_async.h"
#include "base/cuda/host_fibers.h"
#include "base/cuda/host_switch.h"

namespace pycnn::cuda::fibers {

struct Range {
  uintptr_t begin, end;
  bool writable, constant;
};

// A cp.async under way.
struct Copy {
  void* to;
  const void* from;
  int bytes;
  int64_t group;
  bool too_early;
};

enum class State { kReady, kAtBarrier, kAtClusterBarrier, kAtNamed, kAtMbarrier, kAtBulkWait, kInWarp, kDone };

struct Fiber {
  std::unique_ptr<char[]> stack;
  Context context;
  Where where;
  State state = State::kReady;
  bool waited = false;  // for the kernels before this one
  std::vector<Copy> copies;
  int64_t group = 0;
  const uint64_t* mbarrier = nullptr;  // kAtMbarrier: until the phase of this parity is over
  int parity = 0;
  int64_t bulk_group = 0;                           // that TMA's stores now join
  std::vector<std::pair<size_t, size_t>> unfenced;  // offsets and bytes of shared memory written since fence_async
  std::vector<const uint64_t*> unfenced_mbarriers;  // initialised since the fence for them
};

// wgmma of one warp's 16 rows, of which the accumulators are not there yet.
struct Product {
  WgmmaCall calls[kWarp];
  int64_t group;
  bool fenced;
};

// Accumulators that products under way will be added to; others see NaN until they are there.
struct Hidden {
  const float* of;
  std::vector<float> values;
};

struct Warp {
  Combine combine = nullptr;
  void* slots[kWarp];
  int arrived = 0;
  int able = 0;  // lanes that run or wait for what other threads need not do for them
  std::vector<Product> products;
  std::vector<Hidden> hidden;
  int64_t group = 0;
  bool fenced = false;
};

struct Free {
  void operator()(char* p) const { std::free(p); }
};

struct Named {
  int count = 0;
  std::vector<Fiber*> waiting;
};

struct Block {
  std::unique_ptr<char, Free> shared;
  std::vector<bool> unfenced;  // bytes written since the fence that the asynchronous units need
  std::map<int, Named> named;
  int live = 0, at_barrier = 0;
};

// A copy of TMA under way.
struct Flight {
  TmaCopy copy;
  Fiber* by;
  int64_t group;  // of a store; a load has a barrier
  bool poisoned;  // reads what no fence has made visible, or is too early
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
  std::vector<Block> blocks;  // of the cluster
  std::vector<int> order;     // of the warps: the first that can run runs
  std::vector<Flight> flights;
  uint32_t patience = 1;  // switches between threads before the next of them is done, about
  bool tracks = false;    // writes of shared memory are kept for fence_async: the cluster has an mbarrier
  int threads = 0;        // of a block
  int64_t grid_x = 0;
  size_t shared_bytes = 0;
  uint32_t window = 0;  // the address shared memory begins at
  int live = 0, at_cluster_barrier = 0;
  void (*body)(const void*) = nullptr;
  const void* argument = nullptr;
  std::string error;
  Context main;
};
extern Machine m;

uint32_t random_below(uint32_t n);
// Of Machine::patience: up to a million, which is not before every thread waits.
inline uint32_t random_patience() { return 1u << random_below(5) * 5; }
template <class T>
void shuffle(std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[random_below(static_cast<uint32_t>(i))]);
}

inline bool is_able(State s) { return s == State::kReady || s == State::kAtMbarrier || s == State::kAtBulkWait; }
inline void set_state(Fiber& fiber, State state) {
  const auto warp = static_cast<size_t>(&fiber - m.fibers.data()) / kWarp;
  m.warps[warp].able += is_able(state) - is_able(fiber.state);
  fiber.state = state;
}

Fiber& self();
Block& own_block();
Warp& own_warp();
void give_way(State state);
[[noreturn]] void fail(const std::string& what);

// Of the scheduler, in host_async.cpp: whether a waiting fiber may go on; one copy of TMA, which must exist, is done.
bool may_pass(const Fiber& fiber);
void land_flight();

}  // namespace pycnn::cuda::fibers
