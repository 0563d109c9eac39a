#include "runtime/cuda/table.h"

#include "ops/add_act/cuda.h"
#include "ops/arith/cuda.h"
#include "ops/concat/cuda.h"
#include "ops/conv2d/cuda.h"
#include "ops/conv2d/cuda_layer_norm.h"
#include "ops/conv2d/cuda_pool.h"
#include "ops/conv2d/cuda_sums.h"
#include "ops/conv_transpose2d/cuda.h"
#include "ops/elementwise/cuda.h"
#include "ops/excitation/cuda.h"
#include "ops/global_pool/cuda.h"
#include "ops/group_norm/cuda.h"
#include "ops/inverted_residual/cuda.h"
#include "ops/layer_norm/cuda.h"
#include "ops/layout/cuda.h"
#include "ops/local_response_norm/cuda.h"
#include "ops/matmul/cuda.h"
#include "ops/mlp/cuda.h"
#include "ops/pool2d/cuda.h"
#include "ops/rearrange/cuda.h"
#include "ops/softmax/cuda.h"
#include "ops/upsample/cuda.h"

namespace pycnn::cuda {
namespace {

template <class P>
AnyKernel erase(const Kernel<P>& k) {
  return {
      k.name,
      k.dtype,
      k.tf32,
      k.aligned,
      &k,
      [](const void* kernel, const void* p) {
        return static_cast<const Kernel<P>*>(kernel)->why_not(*static_cast<const P*>(p));
      },
      [](const void* kernel, const void* p) {
        return static_cast<const Kernel<P>*>(kernel)->packed_bytes(*static_cast<const P*>(p));
      },
      [](const void* kernel, const void* p, const float* w, void* packed) {
        static_cast<const Kernel<P>*>(kernel)->pack(*static_cast<const P*>(p), w, packed);
      },
      [](const void* kernel, const void* p, const Ptrs& ptrs, Stream stream) {
        return static_cast<const Kernel<P>*>(kernel)->launch(*static_cast<const P*>(p), ptrs, stream);
      },
      [](const void* kernel, const void* p) {
        const auto cost = static_cast<const Kernel<P>*>(kernel)->cost;
        return cost ? cost(*static_cast<const P*>(p)) : Cost{};
      },
  };
}

template <class P, class... Lists>
Op describe(const char* name, KernelList<P> first, Lists... rest) {
  Op op{params_type<P>(), name, {}};
  for (const KernelList<P>& list : {first, rest...})
    for (const auto* kernel : list) op.kernels.push_back(erase(*kernel));
  return op;
}

}  // namespace

const std::vector<Op>& op_table() {
  static const std::vector<Op> table{
      describe("conv2d", conv2d_depthwise3x3(), conv2d_depthwise3x3s2(), conv2d_depthwise5x5(), conv2d_depthwise5x5s2(),
               conv2d_depthwise7x7(), conv2d_depthwise7x7s2(), conv2d_depthwise(), conv2d_bf16(), conv2d_f16(),
               conv2d_tf32(), conv2d_f32(), conv2d_prologue(), conv2d_wgmma_bf16(), conv2d_wgmma_f16(),
               conv2d_wgmma_norm_bf16(), conv2d_wgmma_norm_f16(), conv2d_wgmma_gate_bf16(), conv2d_wgmma_gate_f16()),
      describe("conv2d_pool", conv2d_pool()),
      describe("conv2d_sums", conv2d_sums3x3(), conv2d_sums3x3s2(), conv2d_sums5x5(), conv2d_sums5x5s2(),
               conv2d_sums()),
      describe("conv2d_layer_norm", conv2d_layer_norm7x7(), conv2d_layer_norm()),
      describe("excitation", excitation_layers()),
      describe("mlp", mlp_tiles()),
      describe("inverted_residual", inverted_residual_tiles()),
      describe("conv_transpose2d", conv_transpose2d_phases()),
      describe("matmul", matmul_tiles()),
      describe("pool2d", pool2d_window()),
      describe("global_pool", global_pool_mean()),
      describe("add_act", add_act_pieces()),
      describe("arith", arith_pieces()),
      describe("elementwise", elementwise_pieces()),
      describe("concat", concat_pieces()),
      describe("upsample", upsample_pieces()),
      describe("layer_norm", layer_norm_rows()),
      describe("group_norm", group_norm_maps()),
      describe("local_response_norm", local_response_norm_rows()),
      describe("softmax", softmax_rows()),
      describe("layout", layout_transpose()),
      describe("rearrange", rearrange_strided()),
  };
  return table;
}

const Op& find_op(const std::string& name) {
  for (const Op& op : op_table())
    if (name == op.name) return op;
  throw std::invalid_argument("no op named '" + name + "' has CUDA kernels");
}

const AnyKernel& find_kernel(const Op& op, const std::string& name) {
  for (const AnyKernel& kernel : op.kernels)
    if (name == kernel.name) return kernel;
  throw std::invalid_argument(std::string(op.name) + ": no CUDA kernel named '" + name + "'");
}

bool fits(const AnyKernel& kernel, Dtype dtype, bool tf32, bool aligned) {
  return kernel.dtype == dtype && (tf32 || !kernel.tf32) && (aligned || !kernel.aligned);
}

const AnyKernel* choose_kernel(const Op& op, Dtype dtype, bool tf32, bool aligned, const void* params) {
  const AnyKernel* best = nullptr;
  double least = 0;
  for (const AnyKernel& kernel : op.kernels) {
    if (!fits(kernel, dtype, tf32, aligned)) continue;
    const double cost = kernel.cost(kernel.kernel, params).seconds();
    if (best != nullptr && (least == 0 || cost == 0 || cost >= least)) continue;
    if (kernel.why_not(kernel.kernel, params) == nullptr) best = &kernel, least = cost;
  }
  return best;
}

}  // namespace pycnn::cuda
