// Sines and cosines of time steps: y[i] = (sin(t_i w), cos(t_i w)), or the cosines first, w being width / 2 frequencies.
// The angle is an fp32 product, as torch's is.
//
// Ptrs.x: n adjacent time steps of the dtype named by `steps`; w: the frequencies, fp32; y: rows of width elements, ldy
// apart.
#pragma once
#include "base/dtype.h"
#include "base/kernel.h"

namespace pycnn {

enum class StepType : int64_t { kFloat = 0, kInt64 = 1, kInt32 = 2 };

struct TimestepEmbeddingParams {
  int64_t n = 1, width = 2;
  int64_t cosine_first = 0;
  StepType steps = StepType::kFloat;
  int64_t ldy = 0;
};

template <class Visit>
void visit_fields(TimestepEmbeddingParams& p, Visit&& field) {
  field("n", p.n), field("width", p.width), field("cosine_first", p.cosine_first), field("steps", p.steps);
  field("ldy", p.ldy);
}

using TimestepEmbeddingKernel = Kernel<TimestepEmbeddingParams>;
KernelList<TimestepEmbeddingParams> timestep_embedding_kernels();
extern const TimestepEmbeddingKernel timestep_embedding_reference;
extern const Kernel<TimestepEmbeddingParams, Bf16> timestep_embedding_reference_bf16;

}  // namespace pycnn
