// The only kernel of each dtype: a network calls it once, for a few hundred values an image.
#include <cmath>

#include "base/dtype.h"
#include "ops/timestep_embedding/timestep_embedding.h"

namespace pycnn {
namespace {

float step_at(const TimestepEmbeddingParams& p, const void* x, int64_t i) {
  switch (p.steps) {
    case StepType::kInt64:
      return static_cast<float>(static_cast<const int64_t*>(x)[i]);
    case StepType::kInt32:
      return static_cast<float>(static_cast<const int32_t*>(x)[i]);
    default:
      return static_cast<const float*>(x)[i];
  }
}

template <class E>
void run(const TimestepEmbeddingParams& p, const PtrsOf<E>& ptrs, Worker worker) {
  const int64_t half = p.width / 2, sines = p.cosine_first ? half : 0, cosines = half - sines;
  const Range rows = share(p.n, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const float t = step_at(p, ptrs.x, i);
    E* y = ptrs.y + i * p.ldy;
    for (int64_t j = 0; j < half; ++j) {
      const double angle = t * ptrs.w[j];
      y[sines + j] = from_float<E>(static_cast<float>(std::sin(angle)));
      y[cosines + j] = from_float<E>(static_cast<float>(std::cos(angle)));
    }
  }
}

int64_t packed_size(const TimestepEmbeddingParams& p) { return p.width / 2; }
void pack(const TimestepEmbeddingParams& p, const float* w, float* packed) {
  for (int64_t j = 0; j < p.width / 2; ++j) packed[j] = w[j];
}

const char* why_not(const TimestepEmbeddingParams&, const Machine&) { return nullptr; }

}  // namespace

const TimestepEmbeddingKernel timestep_embedding_reference{
    "timestep_embedding_reference", why_not, packed_size, pack, no_workspace<TimestepEmbeddingParams>, run<float>};

const Kernel<TimestepEmbeddingParams, Bf16> timestep_embedding_reference_bf16{
    "timestep_embedding_bf16_reference", why_not, packed_size, pack, no_workspace<TimestepEmbeddingParams>, run<Bf16>};

}  // namespace pycnn
