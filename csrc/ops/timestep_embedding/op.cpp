// torch.ops.pycnn.timestep_embedding: steps [n] of int64, int32 or fp32, frequencies [width / 2] -> [n, width].
#include "ops/timestep_embedding/timestep_embedding.h"

#include "ops/door.h"

namespace pycnn {
namespace {

using door::Tensor;
using torch::headeronly::ScalarType;
constexpr const char* kOp = "timestep_embedding";

Tensor timestep_embedding(const Tensor& steps, const Tensor& frequencies, bool cosine_first) {
  STD_TORCH_CHECK(steps.is_cpu() && steps.dim() == 1, kOp, ": steps is no vector on the CPU");
  door::check_float_cpu(kOp, "frequencies", frequencies, 1);
  TimestepEmbeddingParams p;
  p.n = steps.size(0), p.width = p.ldy = 2 * frequencies.size(0), p.cosine_first = cosine_first;
  const ScalarType type = steps.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Long || type == ScalarType::Int, kOp,
                  ": steps are neither float32, int64 nor int32");
  p.steps = type == ScalarType::Long ? StepType::kInt64 : type == ScalarType::Int ? StepType::kInt32 : StepType::kFloat;
  const std::vector<int64_t> sizes{p.n, p.width};
  Tensor y = torch::stable::new_empty(frequencies, sizes);
  if (y.numel() == 0) return y;
  const Tensor kept = torch::stable::contiguous(steps), w = torch::stable::contiguous(frequencies);
  Ptrs ptrs;
  ptrs.x = static_cast<const float*>(kept.const_data_ptr()), ptrs.w = door::floats(w), ptrs.y = door::mutable_floats(y);
  launch(timestep_embedding_reference, p, ptrs, 1, Backend::kOpenMP);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(pycnn, m) {
  m.def("timestep_embedding(Tensor steps, Tensor frequencies, bool cosine_first) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(pycnn, CPU, m) { m.impl("timestep_embedding", TORCH_BOX(&timestep_embedding)); }

}  // namespace pycnn
