#include "ops/timestep_embedding/timestep_embedding.h"

namespace pycnn {

KernelList<TimestepEmbeddingParams> timestep_embedding_kernels() {
  static const TimestepEmbeddingKernel* const list[] = {&timestep_embedding_reference};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn
