// Every op's kernels behind one type, so that plans, tests and Python address them by name.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/kernel.h"
#include "runtime/params.h"

namespace pycnn {

// A kernel with its parameter type erased; `params` is the op's Params struct.
struct AnyKernel {
  const char* name;
  const void* kernel;
  const char* (*why_not)(const void* kernel, const void* params);
  int64_t (*packed_size)(const void* kernel, const void* params);
  void (*pack)(const void* kernel, const void* params, const float* w, float* packed);
  int64_t (*workspace)(const void* kernel, const void* params, int workers);
  void (*run)(const void* kernel, const void* params, const Ptrs&, Worker);
};

struct Op : ParamsType {
  const char* name;
  std::vector<AnyKernel> kernels;                                      // best first
  std::function<const char*(const void* params, int workers)> choose;  // name of the table's choice
};

const std::vector<Op>& op_table();
// std::invalid_argument: no such op, no such kernel.
const Op& find_op(const std::string& name);
const AnyKernel& find_kernel(const Op& op, const std::string& name);

}  // namespace pycnn
