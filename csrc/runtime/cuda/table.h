// Every CUDA kernel behind one type, addressed by name.
#pragma once
#include <string>
#include <vector>

#include "base/cuda/kernel.h"
#include "runtime/params.h"

namespace pycnn::cuda {

struct AnyKernel {
  const char* name;
  Dtype dtype;
  bool tf32, aligned;
  const void* kernel;
  const char* (*why_not)(const void* kernel, const void* params);
  int64_t (*packed_bytes)(const void* kernel, const void* params);
  void (*pack)(const void* kernel, const void* params, const float* w, void* packed);
  const char* (*launch)(const void* kernel, const void* params, const Ptrs&, Stream);
  Cost (*cost)(const void* kernel, const void* params);  // nothing: the table's order decides
};

struct Op : ParamsType {
  const char* name;
  std::vector<AnyKernel> kernels;
};

const std::vector<Op>& op_table();
// std::invalid_argument: no such op, no such kernel.
const Op& find_op(const std::string& name);
const AnyKernel& find_kernel(const Op& op, const std::string& name);
// Whether the kernel is for elements of `dtype`, as `choose_kernel` has it.
bool fits(const AnyKernel& kernel, Dtype dtype, bool tf32, bool aligned);
// The first kernel for elements of `dtype` that takes the problem, or a later one that costs less where both have a cost;
// null: none does. tf32: whether products of fp32 may be rounded to it. aligned: whether x
// starts on a multiple of 16 bytes.
const AnyKernel* choose_kernel(const Op& op, Dtype dtype, bool tf32, bool aligned, const void* params);

}  // namespace pycnn::cuda
