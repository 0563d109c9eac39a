// wgmma for nvcc: base/cuda/sm90.h.
#pragma once
#include "base/cuda/device.h"
#include "base/cuda/tensor_map.h"

namespace pycnn::cuda {

// Matrices of 128-byte swizzled rows along the reduction: groups of 8 rows lie 1024 bytes apart (bits 32..45, in units of
// 16 bytes), bits 16..29 are not read, layout 1 (bits 62..63) is the 128-byte swizzle.
PYCNN_DEVICE uint64_t wgmma_descriptor(const void* p) {
  return uint64_t{shared_address(p) >> 4 & 0x3fff} | uint64_t{1} << 16 | uint64_t{kSwizzleAtom >> 4} << 32 |
         uint64_t{1} << 62;
}

PYCNN_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
PYCNN_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kFlying>
PYCNN_DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kFlying) : "memory");
}

// Without it the compiler reads sums before the wait.
template <int kCount>
PYCNN_DEVICE void wgmma_results(float (&acc)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(acc[i])::"memory");
}

#define PYCNN_ACC4(i) "+f"(acc[i]), "+f"(acc[i + 1]), "+f"(acc[i + 2]), "+f"(acc[i + 3])
#define PYCNN_ACC16(i) PYCNN_ACC4(i), PYCNN_ACC4(i + 4), PYCNN_ACC4(i + 8), PYCNN_ACC4(i + 12)

#define PYCNN_WGMMA64(type)                                                                                 \
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                  \
               " {"                                                                                         \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, " \
               "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"                                 \
               "}, %32, %33, 1, 1, 1, 0, 0;"                                                                \
               : PYCNN_ACC16(0), PYCNN_ACC16(16)                                                            \
               : "l"(a), "l"(b))

#define PYCNN_WGMMA128(type)                                                                                          \
  asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                           \
               " {"                                                                                                   \
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "           \
               "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, " \
               "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, " \
               "%60, %61, %62, %63"                                                                                   \
               "}, %64, %65, 1, 1, 1, 0, 0;"                                                                          \
               : PYCNN_ACC16(0), PYCNN_ACC16(16), PYCNN_ACC16(32), PYCNN_ACC16(48)                                    \
               : "l"(a), "l"(b))

#define PYCNN_WGMMA256(type)                                                                                         \
  asm volatile(                                                                                                      \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type                                                   \
      " {"                                                                                                           \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, "                             \
      "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "                   \
      "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, "                   \
      "%54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, "                   \
      "%72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, "                   \
      "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, "           \
      "%108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, " \
      "%126, %127"                                                                                                   \
      "}, %128, %129, 1, 1, 1, 0, 0;"                                                                                \
      : PYCNN_ACC16(0), PYCNN_ACC16(16), PYCNN_ACC16(32), PYCNN_ACC16(48), PYCNN_ACC16(64), PYCNN_ACC16(80),         \
        PYCNN_ACC16(96), PYCNN_ACC16(112)                                                                            \
      : "l"(a), "l"(b))

template <class T, int N>
PYCNN_DEVICE void wgmma(float (&acc)[N / 2], uint64_t a, uint64_t b) {
  static_assert(N == 64 || N == 128 || N == 256);
  constexpr bool kBf16 = kDtypeOf<T> == Dtype::kBf16;
  if constexpr (N == 64 && kBf16) PYCNN_WGMMA64("bf16");
  if constexpr (N == 64 && !kBf16) PYCNN_WGMMA64("f16");
  if constexpr (N == 128 && kBf16) PYCNN_WGMMA128("bf16");
  if constexpr (N == 128 && !kBf16) PYCNN_WGMMA128("f16");
  if constexpr (N == 256 && kBf16) PYCNN_WGMMA256("bf16");
  if constexpr (N == 256 && !kBf16) PYCNN_WGMMA256("f16");
}

#undef PYCNN_WGMMA256
#undef PYCNN_WGMMA64
#undef PYCNN_WGMMA128
#undef PYCNN_ACC16
#undef PYCNN_ACC4

}  // namespace pycnn::cuda
