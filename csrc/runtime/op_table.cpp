#include "runtime/op_table.h"

#include <stdexcept>

#include "ops/add_act/add_act.h"
#include "ops/arith/arith.h"
#include "ops/attention/attention.h"
#include "ops/concat/concat.h"
#include "ops/conv2d/conv2d.h"
#include "ops/conv_transpose2d/conv_transpose2d.h"
#include "ops/elementwise/elementwise.h"
#include "ops/global_pool/global_pool.h"
#include "ops/group_norm/group_norm.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/layout/layout.h"
#include "ops/linear/linear.h"
#include "ops/local_response_norm/local_response_norm.h"
#include "ops/pool2d/pool2d.h"
#include "ops/rearrange/rearrange.h"
#include "ops/softmax/softmax.h"
#include "ops/timestep_embedding/timestep_embedding.h"
#include "ops/upsample/upsample.h"

namespace pycnn {
namespace {

template <class P>
AnyKernel erase(const Kernel<P>& k) {
  return {
      k.name,
      &k,
      [](const void* kernel, const void* p) {
        return static_cast<const Kernel<P>*>(kernel)->why_not(*static_cast<const P*>(p), machine());
      },
      [](const void* kernel, const void* p) {
        return static_cast<const Kernel<P>*>(kernel)->packed_size(*static_cast<const P*>(p));
      },
      [](const void* kernel, const void* p, const float* w, float* packed) {
        static_cast<const Kernel<P>*>(kernel)->pack(*static_cast<const P*>(p), w, packed);
      },
      [](const void* kernel, const void* p, int workers) {
        return static_cast<const Kernel<P>*>(kernel)->workspace(*static_cast<const P*>(p), workers);
      },
      [](const void* kernel, const void* p, const Ptrs& ptrs, Worker worker) {
        static_cast<const Kernel<P>*>(kernel)->run(*static_cast<const P*>(p), ptrs, worker);
      },
  };
}

template <class P>
Op describe(const char* name, KernelList<P> kernels) {
  Op op{params_type<P>(), name, {}, {}};
  for (const auto* kernel : kernels) op.kernels.push_back(erase(*kernel));
  op.choose = [kernels](const void* params, int workers) {
    return pick(kernels, *static_cast<const P*>(params), machine(), workers).name;
  };
  return op;
}

}  // namespace

const std::vector<Op>& op_table() {
  static const std::vector<Op> table{
      describe("conv2d", conv2d_kernels()),         describe("linear", linear_kernels()),
      describe("pool2d", pool2d_kernels()),         describe("global_pool", global_pool_kernels()),
      describe("add_act", add_act_kernels()),       describe("elementwise", elementwise_kernels()),
      describe("concat", concat_kernels()),         describe("layout", layout_kernels()),
      describe("arith", arith_kernels()),           describe("upsample", upsample_kernels()),
      describe("layer_norm", layer_norm_kernels()), describe("conv_transpose2d", conv_transpose2d_kernels()),
      describe("rearrange", rearrange_kernels()),   describe("group_norm", group_norm_kernels()),
      describe("softmax", softmax_kernels()),       describe("local_response_norm", local_response_norm_kernels()),
      describe("attention", attention_kernels()),   describe("timestep_embedding", timestep_embedding_kernels()),
  };
  return table;
}

const Op& find_op(const std::string& name) {
  for (const Op& op : op_table())
    if (name == op.name) return op;
  throw std::invalid_argument("no op named '" + name + "'");
}

const AnyKernel& find_kernel(const Op& op, const std::string& name) {
  for (const AnyKernel& kernel : op.kernels)
    if (name == kernel.name) return kernel;
  throw std::invalid_argument(std::string(op.name) + ": no kernel named '" + name + "'");
}

}  // namespace pycnn
