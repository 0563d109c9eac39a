// Lists of kernels behind one type.
#pragma once
#include "runtime/op_table.h"

namespace pycnn {

template <class P, class E>
AnyKernel erase(const Kernel<P, E>& k) {
  return {
      k.name,
      &k,
      [](const void* kernel, const void* p) {
        return static_cast<const Kernel<P, E>*>(kernel)->why_not(*static_cast<const P*>(p), machine());
      },
      [](const void* kernel, const void* p) {
        return static_cast<const Kernel<P, E>*>(kernel)->packed_size(*static_cast<const P*>(p));
      },
      [](const void* kernel, const void* p, const float* w, float* packed) {
        static_cast<const Kernel<P, E>*>(kernel)->pack(*static_cast<const P*>(p), w, packed);
      },
      [](const void* kernel, const void* p, int workers) {
        return static_cast<const Kernel<P, E>*>(kernel)->workspace(*static_cast<const P*>(p), workers);
      },
      [](const void* kernel, const void* p, const AnyPtrs& at, Worker worker) {
        const PtrsOf<E> ptrs{static_cast<const E*>(at.x),
                             static_cast<const E*>(at.residual),
                             at.w,
                             at.bias,
                             static_cast<E*>(at.y),
                             at.workspace,
                             static_cast<const E*>(at.gate),
                             static_cast<E*>(at.gate)};
        static_cast<const Kernel<P, E>*>(kernel)->run(*static_cast<const P*>(p), ptrs, worker);
      },
  };
}

// choose: null where no kernel takes the problem.
template <class P, class E>
AnyKernels erase(KernelList<P, E> kernels) {
  AnyKernels erased;
  for (const auto* kernel : kernels) erased.all.push_back(erase(*kernel));
  erased.choose = [kernels](const void* params, int workers) -> const char* {
    const auto* found = pick(kernels, *static_cast<const P*>(params), machine(), workers);
    return found ? found->name : nullptr;
  };
  return erased;
}

}  // namespace pycnn
