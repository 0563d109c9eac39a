// What an implementation of an op on CUDA publishes. The parameters are the CPU's structs; tensors are NHWC of the
// kernel's dtype with the same free pixel strides in elements; bias is fp32.
#pragma once
#include "base/cuda/cost.h"
#include "base/cuda/device.h"

namespace pycnn::cuda {

// As the CPU's Ptrs: residual and bias may be null, y never overlaps an input, w is what the kernel's pack() made.
struct Ptrs {
  const void* x = nullptr;
  const void* residual = nullptr;
  const void* w = nullptr;
  const float* bias = nullptr;
  void* y = nullptr;
  const void* gate = nullptr;  // of a convolution's prologue, and null elsewhere
};

template <class Params>
struct Kernel {
  const char* name;  // <op>_<algorithm>_<dtype>_sm80; tf32 in place of f32 where products are rounded to it
  Dtype dtype;
  const char* (*why_not)(const Params&);                      // null: it takes the problem; else a sentence
  int64_t (*packed_bytes)(const Params&);                     // of weights; 0: none
  void (*pack)(const Params&, const float* w, void* packed);  // w: torch's order, contiguous, on the host
  // Starts the kernel on a stream of the current device; null, or why not.
  const char* (*launch)(const Params&, const Ptrs&, Stream);
  bool tf32 = false;     // products of fp32 are rounded to TF32
  bool aligned = false;  // x must start on a multiple of 16 bytes
  // For a choice among kernels that take the problem; null: the table's order decides.
  Cost (*cost)(const Params&) = nullptr;
};

template <class Params>
struct KernelList {
  const Kernel<Params>* const* items;
  int count;
  const Kernel<Params>* const* begin() const { return items; }
  const Kernel<Params>* const* end() const { return items + count; }
};

template <class Params>
struct NoWeights {
  static int64_t packed_bytes(const Params&) { return 0; }
  static void pack(const Params&, const float*, void*) {}
};

// A scale of each channel, in fp32 as it is.
template <class Params>
struct ChannelWeights {
  static int64_t packed_bytes(const Params& p) { return p.c * static_cast<int64_t>(sizeof(float)); }
  static void pack(const Params& p, const float* w, void* packed) {
    for (int64_t c = 0; c < p.c; ++c) static_cast<float*>(packed)[c] = w[c];
  }
};

// K: Type, the element; why_not, packed_bytes, pack and launch.
template <class Params, class K>
constexpr Kernel<Params> kernel_of(const char* name) {
  return {name, kDtypeOf<typename K::Type>, K::why_not, K::packed_bytes, K::pack, K::launch};
}

// The list `function` of one kernel for each type of elements: Kernel_<Bf16>, ..., named <name>_bf16_sm80, ...
#define PYCNN_CUDA_KERNELS(function, Params, Kernel_, name)                                            \
  KernelList<Params> function() {                                                                      \
    static constexpr Kernel<Params> kernels[] = {kernel_of<Params, Kernel_<Bf16>>(name "_bf16_sm80"),  \
                                                 kernel_of<Params, Kernel_<F16>>(name "_f16_sm80"),    \
                                                 kernel_of<Params, Kernel_<float>>(name "_f32_sm80")}; \
    static constexpr const Kernel<Params>* list[] = {&kernels[0], &kernels[1], &kernels[2]};           \
    return {list, 3};                                                                                  \
  }

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace pycnn::cuda
