// What an sm_90 SM does beside its threads, for base/cuda/host_fibers.h: mbarriers, copies by TMA, products by wgmma,
// clusters. A copy is done at some time after it was issued, a product when it is issued or at its wait; until then
// their targets hold NaN. Writes by threads that no fence has made visible to these units are NaN to them.
#pragma once
#include "base/cuda/tensor_map.h"

namespace pycnn::cuda::fibers {

// Called inside a fiber.
uint32_t shared_address(const void* p);
char* shared_at(uint32_t address, int64_t bytes);

void mbarrier_init(uint64_t* barrier, int arrivals);
void mbarrier_init_fence();
// bytes: what is expected to be copied besides, before the phase is over.
void mbarrier_arrive(uint64_t* barrier, int bytes);
void mbarrier_wait(const uint64_t* barrier, int parity);

// Element 0 of the box, or of the first pixel: coordinates channel, row or channel, w, h, n with the offsets of the tap.
struct TmaCopy {
  TensorMapSpec map;
  char* shared;
  uint64_t* barrier;  // null: a store
  int64_t at[4];
  int64_t offset[2];
};
void tma_copy(const TmaCopy& copy);
void tma_store_commit();
void tma_store_wait();
void fence_async();
void shared_written(const void* p, size_t bytes);
// Whether one of the bytes was written by a thread and not fenced since.
bool unfenced(const void* p, size_t bytes);

void named_barrier(int id, int threads);
void cluster_barrier();
const void* in_cluster(const void* p, int rank);

struct WgmmaCall {
  float* acc;
  uint64_t a, b;
  int n;
  float (*value)(uint16_t bits);
};
// Of a whole warp, whose 32 calls these are.
void wgmma_issue(const WgmmaCall* const* calls);
void wgmma_fence();
void wgmma_commit();
void wgmma_wait(int flying);

}  // namespace pycnn::cuda::fibers
