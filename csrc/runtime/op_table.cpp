#include "runtime/op_table.h"

#include <stdexcept>

#include "ops/add_act/add_act.h"
#include "ops/arith/arith.h"
#include "ops/attention/attention.h"
#include "ops/concat/concat.h"
#include "ops/conv2d/pool.h"
#include "ops/conv_transpose2d/conv_transpose2d.h"
#include "ops/elementwise/elementwise.h"
#include "ops/global_pool/global_pool.h"
#include "ops/group_norm/group_norm.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/layout/layout.h"
#include "ops/linear/linear.h"
#include "ops/local_response_norm/local_response_norm.h"
#include "ops/matmul/matmul.h"
#include "ops/pool2d/pool2d.h"
#include "ops/rearrange/rearrange.h"
#include "ops/softmax/softmax.h"
#include "ops/timestep_embedding/timestep_embedding.h"
#include "ops/upsample/upsample.h"
#include "runtime/bf16_kernels.h"
#include "runtime/erase.h"

namespace pycnn {
namespace {

template <class P>
Op describe(const char* name, KernelList<P> kernels, KernelList<P, Bf16> bf16) {
  return {params_type<P>(), name, erase(kernels), erase(bf16)};
}

}  // namespace

const std::vector<Op>& op_table() {
  static const std::vector<Op> table{
      describe("conv2d", conv2d_kernels(), bf16::conv2d_kernels()),
      describe<Conv2dParams>("conv2d_means", conv2d_means_kernels(), {}),
      describe("conv2d_pool", conv2d_pool_kernels(), bf16::conv2d_pool_kernels()),
      describe("linear", linear_kernels(), bf16::linear_kernels()),
      describe("pool2d", pool2d_kernels(), bf16::pool2d_kernels()),
      describe("global_pool", global_pool_kernels(), bf16::global_pool_kernels()),
      describe("add_act", add_act_kernels(), bf16::add_act_kernels()),
      describe("elementwise", elementwise_kernels(), bf16::elementwise_kernels()),
      describe("concat", concat_kernels(), bf16::concat_kernels()),
      describe("layout", layout_kernels(), bf16::layout_kernels()),
      describe("arith", arith_kernels(), bf16::arith_kernels()),
      describe("upsample", upsample_kernels(), bf16::upsample_kernels()),
      describe("layer_norm", layer_norm_kernels(), bf16::layer_norm_kernels()),
      describe("conv_transpose2d", conv_transpose2d_kernels(), bf16::conv_transpose2d_kernels()),
      describe("rearrange", rearrange_kernels(), bf16::rearrange_kernels()),
      describe("group_norm", group_norm_kernels(), bf16::group_norm_kernels()),
      describe("softmax", softmax_kernels(), bf16::softmax_kernels()),
      describe("local_response_norm", local_response_norm_kernels(), bf16::local_response_norm_kernels()),
      describe("attention", attention_kernels(), bf16::attention_kernels()),
      describe("matmul", matmul_kernels(), bf16::matmul_kernels()),
      describe("timestep_embedding", timestep_embedding_kernels(), bf16::timestep_embedding_kernels()),
  };
  return table;
}

const Op& find_op(const std::string& name) {
  for (const Op& op : op_table())
    if (name == op.name) return op;
  throw std::invalid_argument("no op named '" + name + "'");
}

const AnyKernel& find_kernel(const Op& op, const std::string& name) {
  for (const AnyKernels* kernels : {&op.f32, &op.bf16})
    for (const AnyKernel& kernel : kernels->all)
      if (name == kernel.name) return kernel;
  throw std::invalid_argument(std::string(op.name) + ": no kernel named '" + name + "'");
}

}  // namespace pycnn
