// What the torch doors share: NHWC views of torch tensors, outputs in torch's memory format, kernel choice by name.
// Only op.cpp files and door.cpp include this; kernels never see torch.
#pragma once
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/launch.h"

namespace pycnn::door {

using torch::stable::Tensor;

// A 4-d map as kernels want it: NHWC with pixel stride ld. Keeps the tensor (a copy where the strides did not fit).
struct Map {
  Tensor tensor;
  const float* data;
  int64_t n, h, w, c, ld;
};

void check_float_cpu(const char* op, const char* name, const Tensor& t, int64_t dim);
Map read_map(const char* op, const char* name, const Tensor& t);
bool is_nchw(const Tensor& t);
// at::Tensor::suggest_memory_format() == ChannelsLast.
bool suggests_channels_last(const Tensor& t);
// An uninitialised tensor of shape [n, c, h, w] whose memory is NHWC; its strides are NCHW's where that is the same
// memory and the result is not to be channels_last.
Tensor empty_nhwc(const Tensor& like, int64_t n, int64_t c, int64_t h, int64_t w, bool channels_last);
// y itself, or its contiguous NCHW copy; for an empty_nhwc() made with the same channels_last.
Tensor in_format(const Tensor& y, bool channels_last);
// A contiguous fp32 vector of `size` values, or null.
const float* read_vector(const char* op, const char* name, const std::optional<Tensor>& t, int64_t size, Tensor& keep);

inline const float* floats(const Tensor& t) { return static_cast<const float*>(t.const_data_ptr()); }
inline float* mutable_floats(const Tensor& t) { return static_cast<float*>(t.mutable_data_ptr()); }

// An uninitialised tensor with the strides torch's elementwise ops give the result of one input.
Tensor empty_elementwise(const Tensor& x);
// x seen as rows of c floats, ld apart (0: one row for all), in the memory order of a tensor y of the same sizes that
// has no gaps; c = 0: it has another order.
struct Rows {
  int64_t c, ld;
};
Rows rows_along(const Tensor& x, const Tensor& y);

// Elements from row to row of the last dimension, or 0 if the rows do not lie at one distance.
int64_t last_rows(const Tensor& x);

// Threads for `work` multiply-adds or moved floats: one below ~20 us of work.
int workers_for(double work);

// The kernel pinned by name, or the table's choice when the name is empty.
template <class Params>
const Kernel<Params>& choose(const char* op, KernelList<Params> list, const Params& params, const std::string& name) {
  if (name.empty()) return *pick(list, params, machine(), 1);
  for (const auto* kernel : list) {
    if (name != kernel->name) continue;
    const char* reason = kernel->why_not(params, machine());
    STD_TORCH_CHECK(reason == nullptr, op, ": kernel ", name, " refuses: ", reason ? reason : "");
    return *kernel;
  }
  STD_TORCH_CHECK(false, op, ": no kernel named '", name, "'");
  return *list.items[0];
}

}  // namespace pycnn::door
