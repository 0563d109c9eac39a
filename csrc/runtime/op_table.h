// Every op's kernels behind one type, so that plans, tests and Python address them by name.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/kernel.h"
#include "runtime/params.h"

namespace pycnn {

// Operands; what x, residual, y and gate hold is the kernel's to know. gate: a convolution's, or the means that conv2d_means
// writes.
struct AnyPtrs {
  const void* x;
  const void* residual;
  const float* w;
  const float* bias;
  void* y;
  float* workspace;
  void* gate;
};

// A kernel with the types of its parameters and elements erased; `params` is the op's Params struct.
struct AnyKernel {
  const char* name;
  const void* kernel;
  const char* (*why_not)(const void* kernel, const void* params);
  int64_t (*packed_size)(const void* kernel, const void* params);
  void (*pack)(const void* kernel, const void* params, const float* w, float* packed);
  int64_t (*workspace)(const void* kernel, const void* params, int workers);
  void (*run)(const void* kernel, const void* params, const AnyPtrs&, Worker);
};

// Those of one type of elements.
struct AnyKernels {
  std::vector<AnyKernel> all;                                          // best first
  std::function<const char*(const void* params, int workers)> choose;  // name of the table's choice
};

struct Op : ParamsType {
  const char* name;
  AnyKernels f32, bf16;  // bf16: none for some ops, and none that would run on some machines

  const AnyKernels& kernels(Dtype elements) const { return elements == Dtype::kBf16 ? bf16 : f32; }
};

const std::vector<Op>& op_table();
// std::invalid_argument: no such op, no such kernel.
const Op& find_op(const std::string& name);
const AnyKernel& find_kernel(const Op& op, const std::string& name);

}  // namespace pycnn
