// base/cuda/device.h for nvcc.
#pragma once
#include "base/cuda/launch_ptx.h"

#define PYCNN_DEVICE __device__ __forceinline__
// The 1, blocks an SM at least: without it ptxas of CUDA 13 spills registers of small kernels for the sake of occupancy.
#define PYCNN_GLOBAL(threads) __global__ void __launch_bounds__(threads, 1)

namespace pycnn::cuda {

PYCNN_DEVICE int thread() { return static_cast<int>(threadIdx.x); }
PYCNN_DEVICE int64_t block_x() { return blockIdx.x; }
PYCNN_DEVICE int64_t block_y() { return blockIdx.y; }
PYCNN_DEVICE void sync() { __syncthreads(); }
PYCNN_DEVICE void sync_warp() { __syncwarp(); }

PYCNN_DEVICE char* shared() {
  extern __shared__ __align__(128) char memory[];
  return memory;
}

PYCNN_DEVICE Vec16 load16(const void* p, bool take) {
  Vec16 v{};
  if (take) *reinterpret_cast<uint4*>(&v) = __ldg(static_cast<const uint4*>(p));
  return v;
}
PYCNN_DEVICE void store16(void* p, const Vec16& v) { *static_cast<uint4*>(p) = *reinterpret_cast<const uint4*>(&v); }
template <class T>
PYCNN_DEVICE T load(const T* p) {
  return *p;
}
template <class T>
PYCNN_DEVICE void store(T* p, T v) {
  *p = v;
}

PYCNN_DEVICE Vec16 shared_load16(const void* p) { return *static_cast<const Vec16*>(p); }
PYCNN_DEVICE void shared_store16(void* p, const Vec16& v) { *static_cast<Vec16*>(p) = v; }
template <class T>
PYCNN_DEVICE T shared_load(const T* p) {
  return *p;
}
template <class T>
PYCNN_DEVICE void shared_store(T* p, T v) {
  *p = v;
}

PYCNN_DEVICE uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

PYCNN_DEVICE void cp_async16(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
               : "memory");
}
PYCNN_DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kFlying>
PYCNN_DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kFlying) : "memory");
}

PYCNN_DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

#define PYCNN_MMA(name, shape)                                                                                \
  PYCNN_DEVICE void name(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {                     \
    asm volatile("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                         \
  }
PYCNN_MMA(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
PYCNN_MMA(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
PYCNN_MMA(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef PYCNN_MMA

PYCNN_DEVICE float round_tf32(float v) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
  return __uint_as_float(bits);
}

// An exact division is a call, around which registers are spilled.
PYCNN_DEVICE float reciprocal(float v) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(v));
  return r;
}

PYCNN_DEVICE float shfl_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }

// Before the first read or write of what other launches read or write; the next kernel may start when all blocks are here.
PYCNN_DEVICE void wait_for_earlier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace pycnn::cuda
