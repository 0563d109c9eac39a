// The words CUDA kernels are written in. nvcc maps each to one or two PTX instructions (device_ptx.h); g++ maps them to
// one fiber per CUDA thread (device_host.h), so that the same kernel source runs in the tests of a machine without a GPU.
//
//   thread(), block_x(), block_y()           where this thread is; threads a block are a multiple of 32
//   shared()                                 the block's dynamic shared memory, 128-byte aligned
//   sync(), sync_warp()                      barriers of the block and of the warp
//   load16, store16, load<T>, store<T>       global memory; load16 gives zeros where its predicate is false
//   shared_load16, shared_store16, ...       shared memory: all accesses go through these
//   cp_async16(shared, global, bytes)        copies the first `bytes` of 16, zeros the rest; lands at the wait
//   cp_async_commit(), cp_async_wait<N>()    closes a group; waits until at most the N latest groups of this thread fly
//   ldmatrix_x4(r, row)                      four 8 x 16-byte matrices; lane l names row l % 8 of matrix l / 8
//   mma_bf16, mma_f16, mma_tf32              c[16 x 8] += a[16 x 32 bytes] * b[8 x 32 bytes]^T over one warp, fp32 sums
//   round_tf32(v)                            the nearest TF32, ties away from zero, as fp32
//   reciprocal(v)                            1 / v to one unit in the last place; 1 / infinity is 0
//   shfl_xor(v, mask)                        v of lane ^ mask
//   wait_for_earlier()                       until the kernels before this one in the stream are done; then the next may
//                                            start. It is the first word of every kernel that is about memory, but for
//                                            loads of weights and biases: where starts_early(), a kernel of sm_90 may run
//                                            while those before it end. Elsewhere nothing: launches follow each other
//
// A kernel is PYCNN_GLOBAL(threads) void name(Args by value), a device function PYCNN_DEVICE; launch() starts one.
#pragma once
#include "base/dtype.h"

namespace pycnn::cuda {

// What one 16-byte access moves.
struct alignas(16) Vec16 {
  uint32_t word[4];
};

struct Grid {
  int64_t x = 1;
  int64_t y = 1;
};

using Stream = void*;  // cudaStream_t

}  // namespace pycnn::cuda

#if defined(__CUDACC__)
#include "base/cuda/device_ptx.h"
#else
#include "base/cuda/device_host.h"
#endif
