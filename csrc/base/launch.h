// Runs one kernel by itself: eager ops, tests and benches. A plan runs its steps itself.
#pragma once
#include "base/buffer.h"
#include "base/kernel.h"
#include "base/parallel.h"

namespace pycnn {

// ptrs.w holds what the kernel's pack() made.
template <class Params>
void launch(const Kernel<Params>& kernel, const Params& params, Ptrs ptrs, int workers, Backend backend) {
  const Buffer workspace(kernel.workspace(params, workers));
  ptrs.workspace = workspace.data();
  struct Context {
    const Kernel<Params>& kernel;
    const Params& params;
    const Ptrs& ptrs;
  } context{kernel, params, ptrs};
  parallel(
      workers, backend,
      [](void* raw, Worker worker) {
        const auto& c = *static_cast<Context*>(raw);
        c.kernel.run(c.params, c.ptrs, worker);
      },
      &context);
}

}  // namespace pycnn
