// base/cuda/sm90.h for g++.
#pragma once
#include "base/cuda/host_async.h"

#define PYCNN_GRID_CONSTANT const

namespace pycnn::cuda {

inline constexpr bool kSm90 = true;

inline uint32_t shared_address(const void* p) { return fibers::shared_address(p); }
inline int64_t grid_x() { return fibers::here.grid_x; }

inline void mbarrier_init(uint64_t* b, int arrivals) { fibers::mbarrier_init(b, arrivals); }
inline void mbarrier_init_fence(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("mbarrier_init_fence", file, line)) fibers::mbarrier_init_fence();
}
inline void mbarrier_arrive(uint64_t* b, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("mbarrier_arrive", file, line)) fibers::mbarrier_arrive(b, 0);
}
inline void mbarrier_expect(uint64_t* b, int bytes) { fibers::mbarrier_arrive(b, bytes); }
inline void mbarrier_wait(uint64_t* b, int parity, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("mbarrier_wait", file, line)) fibers::mbarrier_wait(b, parity);
}

inline TensorMapSpec decode(const TensorMap& map) {
  TensorMapSpec spec;
  std::memcpy(static_cast<void*>(&spec), &map, sizeof spec);
  return spec;
}
inline void tma_load(void* to, const TensorMap* map, int c, int row, uint64_t* b) {
  fibers::tma_copy({decode(*map), static_cast<char*>(to), b, {c, row, 0, 0}, {0, 0}});
}
inline void tma_load_im2col(void* to, const TensorMap* map, int c, int w, int h, int n, int dw, int dh, uint64_t* b) {
  fibers::tma_copy({decode(*map), static_cast<char*>(to), b, {c, w, h, n}, {dw, dh}});
}
inline void tma_store(const TensorMap* map, void* from, int c, int row) {
  fibers::tma_copy({decode(*map), static_cast<char*>(from), nullptr, {c, row, 0, 0}, {0, 0}});
}
inline void tma_store_commit() { fibers::tma_store_commit(); }
inline void tma_store_wait(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("tma_store_wait", file, line)) fibers::tma_store_wait();
}
inline void fence_async(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("fence_async", file, line)) fibers::fence_async();
}

inline void sync_threads(int id, int count, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("sync_threads", file, line)) fibers::named_barrier(id, count);
}

inline uint64_t wgmma_descriptor(const void* p) {
  return uint64_t{shared_address(p) >> 4 & 0x3fff} | uint64_t{1} << 16 | uint64_t{kSwizzleAtom >> 4} << 32 |
         uint64_t{1} << 62;
}

template <class T, int N>
void wgmma(float (&acc)[N / 2], uint64_t a, uint64_t b) {
  fibers::WgmmaCall call{acc, a, b, N, [](uint16_t bits) { return to_float(T{bits}); }};
  fibers::warp_exchange(
      [](void* const* slots) { fibers::wgmma_issue(reinterpret_cast<const fibers::WgmmaCall* const*>(slots)); }, &call);
}
inline void wgmma_fence(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("wgmma_fence", file, line))
    fibers::warp_exchange([](void* const*) { fibers::wgmma_fence(); }, nullptr);
}
inline void wgmma_commit() {
  fibers::warp_exchange([](void* const*) { fibers::wgmma_commit(); }, nullptr);
}
template <int kFlying>
void wgmma_wait(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("wgmma_wait", file, line))
    fibers::warp_exchange([](void* const*) { fibers::wgmma_wait(kFlying); }, nullptr);
}
template <int kCount>
void wgmma_results(float (&)[kCount]) {}
template <int kCount>
void registers_more() {}
template <int kCount>
void registers_fewer() {}

inline int cluster_rank() { return fibers::here.rank; }
inline void cluster_sync(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("cluster_sync", file, line)) fibers::cluster_barrier();
}
inline Vec16 cluster_load16(const void* p, int rank) {
  fibers::check_shared(p, sizeof(Vec16));
  return *static_cast<const Vec16*>(fibers::in_cluster(p, rank));
}

// Few, so that blocks of small problems do several tiles.
inline int multiprocessors() { return 3; }
inline const char* sm90_missing() { return nullptr; }

inline const char* encode(const TensorMapSpec& spec, TensorMap* map) {
  static_assert(sizeof spec <= sizeof *map);
  if (const char* limit = tensor_map_limit(spec)) return limit;
  std::memcpy(static_cast<void*>(map), &spec, sizeof spec);
  return nullptr;
}

template <auto kKernel, class Args>
const char* launch_cluster(Grid grid, int cluster, int threads, int shared_bytes, Stream, const Args& args) {
  if (shared_bytes > 227 * 1024) throw std::runtime_error("a block has at most 227 KiB of shared memory");
  fibers::run(
      grid.x, grid.y, threads, shared_bytes, [](const void* a) { kKernel(*static_cast<const Args*>(a)); }, &args,
      cluster);
  return nullptr;
}

}  // namespace pycnn::cuda
