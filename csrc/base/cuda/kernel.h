// What an implementation of an op on CUDA publishes. The parameters are the CPU's structs; tensors are NHWC of the
// kernel's dtype with the same free pixel strides in elements; bias is fp32.
#pragma once
#include "base/cuda/device.h"

namespace pycnn::cuda {

// As the CPU's Ptrs: residual and bias may be null, y never overlaps an input, w is what the kernel's pack() made.
struct Ptrs {
  const void* x = nullptr;
  const void* residual = nullptr;
  const void* w = nullptr;
  const float* bias = nullptr;
  void* y = nullptr;
};

template <class Params>
struct Kernel {
  const char* name;  // <op>_<algorithm>_<dtype>_sm80; tf32 in place of f32 where products are rounded to it
  Dtype dtype;
  const char* (*why_not)(const Params&);                      // null: it takes the problem; else a sentence
  int64_t (*packed_bytes)(const Params&);                     // of weights; 0: none
  void (*pack)(const Params&, const float* w, void* packed);  // w: torch's order, contiguous, on the host
  // Starts the kernel on a stream of the current device; null, or why not. Tensors start on multiples of 16 bytes where
  // why_not asked for strides that are.
  const char* (*launch)(const Params&, const Ptrs&, Stream);
};

template <class Params>
struct KernelList {
  const Kernel<Params>* const* items;
  int count;
  const Kernel<Params>* const* begin() const { return items; }
  const Kernel<Params>* const* end() const { return items + count; }
};

template <class Params>
int64_t no_weights(const Params&) {
  return 0;
}
template <class Params>
void pack_nothing(const Params&, const float*, void*) {}

inline bool aligned16(const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; }

}  // namespace pycnn::cuda
