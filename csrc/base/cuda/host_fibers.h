// Runs a CUDA kernel compiled by g++ on one core: a fiber per CUDA thread, blocks (clusters of them, where the launch has
// some) one after another.
//
// What it checks: every access lies in shared memory or in a range of global memory that was allowed, and is aligned;
// all threads meet at barriers and all lanes of a warp at warp operations (else: deadlock); shared memory holds NaN
// before it is written, and so do operands before the kernels before this one are done. What it varies with the seed: the order of blocks, which warp runs ahead of the others and which
// lane comes first, and whether a cp.async lands when it is issued or at the wait, so that a missing barrier changes the
// result for some seed. One barrier can be dropped by name, to see that a test notices.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace pycnn::cuda::fibers {

// Of the following launches. drop: a name out of sites(), or empty.
void configure(uint64_t seed, const std::string& drop);
// Barriers and waits passed since configure(), as "sync igemm.cu:120".
std::vector<std::string> sites();

struct Launch {
  int64_t grid_x, grid_y;
  int threads, shared_bytes;
  int cluster;  // blocks along x that run together
};
// From now on launches are written down and not run, and what was written down so far is forgotten; or they run again.
void only_count(bool on);
std::vector<Launch> launches();

// Global memory the kernels may touch. constant: no launch before this one may still be writing or reading it.
void allow(const void* begin, size_t bytes, bool writable, bool constant = true);
void forbid_all();

// Throws std::runtime_error with a sentence when a thread does what it must not.
void run(int64_t grid_x, int64_t grid_y, int threads, int shared_bytes, void (*body)(const void*), const void* context,
         int cluster = 1);

// The rest is called inside a fiber.
inline constexpr int kWarp = 32;
struct Where {
  int thread;
  int64_t block_x, block_y;
  char* shared;
  int rank;  // of the block in its cluster
  int64_t grid_x;
};
extern Where here;

void check_shared(const void* p, size_t bytes);
void check_global(const void* p, size_t bytes, bool write);  // aligned to its size
void check_range(const void* p, size_t bytes, bool write);

void wait_for_earlier();
// Whether this thread has not waited and p is not constant: what is read is NaN, and so is what is written.
bool too_early(const void* p);

// False: this site is the dropped one.
bool site(const char* kind, const char* file, int line);
void block_barrier();
// Waits until every lane of the warp has come with its slot; the last to come runs combine over all slots.
using Combine = void (*)(void* const* slots);
void warp_exchange(Combine combine, void* slot);

void async_copy(void* to, const void* from, int bytes);
void async_commit();
void async_wait(int flying);

}  // namespace pycnn::cuda::fibers
