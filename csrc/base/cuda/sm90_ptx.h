// base/cuda/sm90.h for nvcc.
#pragma once
#include <cuda.h>
#include <cudaTypedefs.h>

#include "base/cuda/wgmma_ptx.h"

#define PYCNN_GRID_CONSTANT const __grid_constant__

namespace pycnn::cuda {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
inline constexpr bool kSm90 = true;
#else
inline constexpr bool kSm90 = false;
#endif

PYCNN_DEVICE int64_t grid_x() { return gridDim.x; }

PYCNN_DEVICE void mbarrier_init(uint64_t* b, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory");
}
PYCNN_DEVICE void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
PYCNN_DEVICE void mbarrier_arrive(uint64_t* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
PYCNN_DEVICE void mbarrier_expect(uint64_t* b, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes)
               : "memory");
}
PYCNN_DEVICE void mbarrier_wait(uint64_t* b, int parity) {
  uint32_t over;
  do {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.b32 %0, 1, 0, p;\n}"
        : "=r"(over)
        : "r"(shared_address(b)), "r"(parity)
        : "memory");
  } while (!over);
}

PYCNN_DEVICE void tma_load(void* to, const TensorMap* map, int c, int row, uint64_t* b) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          shared_address(to)),
      "l"(map), "r"(c), "r"(row), "r"(shared_address(b))
      : "memory");
}
PYCNN_DEVICE void tma_load_im2col(void* to, const TensorMap* map, int c, int w, int h, int n, int dw, int dh,
                                  uint64_t* b) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(shared_address(to)),
      "l"(map), "r"(c), "r"(w), "r"(h), "r"(n), "r"(shared_address(b)), "h"(static_cast<uint16_t>(dw)),
      "h"(static_cast<uint16_t>(dh))
      : "memory");
}
PYCNN_DEVICE void tma_store(const TensorMap* map, const void* from, int c, int row) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(c),
               "r"(row), "r"(shared_address(from))
               : "memory");
}
PYCNN_DEVICE void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
PYCNN_DEVICE void tma_store_wait() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
PYCNN_DEVICE void fence_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

PYCNN_DEVICE void sync_threads(int id, int count) {
  asm volatile("barrier.sync %0, %1;" ::"r"(id), "r"(count) : "memory");
}

template <int kCount>
PYCNN_DEVICE void registers_more() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
PYCNN_DEVICE void registers_fewer() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

PYCNN_DEVICE int cluster_rank() {
  int rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
PYCNN_DEVICE void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
}
PYCNN_DEVICE Vec16 cluster_load16(const void* p, int rank) {
  Vec16 v;
  asm volatile(
      "{\n.reg .b32 there;\n"
      "mapa.shared::cluster.u32 there, %4, %5;\n"
      "ld.shared::cluster.v4.b32 {%0, %1, %2, %3}, [there];\n}"
      : "=r"(v.word[0]), "=r"(v.word[1]), "=r"(v.word[2]), "=r"(v.word[3])
      : "r"(shared_address(p)), "r"(rank)
      : "memory");
  return v;
}

// A function of the driver, which this library does not link; null: the driver has none of that name.
template <class F>
F driver_function(const char* name) {
  void* found = nullptr;
  cudaDriverEntryPointQueryResult status{};
#if CUDART_VERSION >= 12050
  const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &found, 12000, cudaEnableDefault, &status);
#else
  const cudaError_t error = cudaGetDriverEntryPoint(name, &found, cudaEnableDefault, &status);
#endif
  return error == cudaSuccess && status == cudaDriverEntryPointSuccess ? reinterpret_cast<F>(found) : nullptr;
}

inline const char* encode(const TensorMapSpec& s, TensorMap* map) {
  static const auto tiled = driver_function<PFN_cuTensorMapEncodeTiled_v12000>("cuTensorMapEncodeTiled");
  static const auto im2col = driver_function<PFN_cuTensorMapEncodeIm2col_v12000>("cuTensorMapEncodeIm2col");
  if (!tiled || !im2col) return "the driver cannot encode tensor maps";
  if (const char* limit = tensor_map_limit(s)) return limit;
  static_assert(sizeof(CUtensorMap) == sizeof(TensorMap));
  const auto type = s.dtype == Dtype::kBf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  auto* to = reinterpret_cast<CUtensorMap*>(map);
  auto* address = const_cast<void*>(s.address);
  const cuuint32_t steps[4] = {1, s.step[0], s.step[1], 1};
  const cuuint64_t dims[4] = {s.dim[0], s.dim[1], s.dim[2], s.dim[3]};
  const cuuint64_t strides[3] = {s.stride[0], s.stride[1], s.stride[2]};
  constexpr auto kInterleave = CU_TENSOR_MAP_INTERLEAVE_NONE;
  constexpr auto kSwizzle = CU_TENSOR_MAP_SWIZZLE_128B;
  constexpr auto kPromotion = CU_TENSOR_MAP_L2_PROMOTION_L2_128B;
  constexpr auto kFill = CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  const CUresult result =
      s.im2col ? im2col(to, type, 4, address, dims, strides, s.lower, s.upper, s.box[0], s.box[1], steps, kInterleave,
                        kSwizzle, kPromotion, kFill)
               : tiled(to, type, 2, address, dims, strides, s.box, steps, kInterleave, kSwizzle, kPromotion, kFill);
  return result == CUDA_SUCCESS ? nullptr : "the driver refuses a tensor map";
}

}  // namespace pycnn::cuda
