#include "runtime/cuda/table.h"

#include "ops/conv2d/cuda.h"

namespace pycnn::cuda {
namespace {

template <class P>
AnyKernel erase(const Kernel<P>& k) {
  return {
      k.name,
      k.dtype,
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
      describe("conv2d", conv2d_bf16(), conv2d_f16(), conv2d_tf32(), conv2d_f32()),
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

}  // namespace pycnn::cuda
