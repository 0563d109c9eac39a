// Words of sm_90a beside those of base/cuda/device.h: nvcc maps them to PTX (sm90_ptx.h), g++ to host_async.h. Kernels
// that use them have bodies inside `if constexpr (kSm90)`, so that other architectures compile to nothing.
//
//   shared_address(p)                            the 32-bit address of shared memory, as descriptors hold it
//   mbarrier_init(b, arrivals)                   b: 8 bytes of shared memory; by one thread, before sync()
//   mbarrier_init_fence()                        makes it visible to TMA; by the thread that initialised
//   mbarrier_arrive(b), mbarrier_expect(b, n)    one arrival; one arrival that also expects n bytes by TMA
//   mbarrier_wait(b, parity)                     until the phase of that parity is over; before the first phase, the
//                                                one of parity 1 is
//   tma_load(to, map, c, row, b)                 one box of a matrix; b is told when the bytes have landed
//   tma_load_im2col(to, map, c, w, h, n, dw, dh, b)   box[1] pixels from (w, h, n) on, each moved by (dw, dh)
//   tma_store(map, from, c, row)                 one box; what lies outside the matrix is left out
//   tma_store_commit(), tma_store_wait()         until the stores of this thread have read shared memory
//   fence_async()                                this thread's writes of shared memory are seen by TMA and wgmma
//   sync_threads(id, n)                          barrier `id` (1..15) of n threads, whole warps
//   wgmma_descriptor(p)                          rows of 128 swizzled bytes from p on, a multiple of 1024; + 2 for each
//                                                16 elements further along the row
//   wgmma<T, N>(acc, a, b)                       acc[64 x N] += a[64 x 16] * b[N x 16]^T over a warpgroup, fp32 sums;
//                                                acc[j * 4 + h * 2 + e] is row warp % 4 * 16 + lane / 4 + h * 8,
//                                                column j * 8 + lane % 4 * 2 + e
//   wgmma_fence(), wgmma_commit(), wgmma_wait<N>()    before the first wgmma after registers were touched; closes a
//                                                group; until at most the N latest groups fly
//   wgmma_results(acc)                           after the last wait, before acc is read
//   registers_more<N>(), registers_fewer<N>()    of each thread of a warpgroup, from here on
//   cluster_rank(), cluster_sync()               of the blocks that share a cluster along x; a barrier of all their threads
//                                                that have not ended
//   cluster_load16(p, rank)                      what another block of the cluster has at p
//   grid_x()                                     blocks along x
//
// On the host: multiprocessors(), sm90_missing() (null, or why the current device cannot run these),
// encode(spec, map) (null, or an error), launch_cluster().
#pragma once
#include "base/cuda/device.h"
#include "base/cuda/tensor_map.h"

namespace pycnn::cuda {

// As CUtensorMap; a kernel gets it inside its arguments, as PYCNN_GRID_CONSTANT.
struct alignas(64) TensorMap {
  uint64_t word[16];
};

}  // namespace pycnn::cuda

#if defined(__CUDACC__)
#include "base/cuda/sm90_ptx.h"
#else
#include "base/cuda/sm90_host.h"
#endif
