// Some vectors of channels at a time, the mean of each row of the map, and of these the mean: a kernel that makes the map
// may leave them (conv2d_means), with the same bits.
#include "base/simd/mean.h"
#include "ops/global_pool/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int kVectors = kLanes == 16 ? 4 : 2;  // of four sums each, of 32 or 16 registers

template <int NV, class Load>
PYCNN_INLINE void mean(const GlobalPoolParams& p, const Element* x, const Load& load_at, Vec (&out)[NV]) {
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) out[v] = Vec{};
  for (int64_t row = 0; row < p.h; ++row, x += p.w * p.ldx) {
    Vec of_row[NV];
    row_mean(
        p.w,
        [&](int64_t pixel, int v) __attribute__((always_inline)) { return load_at(x + pixel * p.ldx + v * kLanes); },
        of_row);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) out[v] += of_row[v];
  }
  const Vec part = broadcast(1.0f / static_cast<float>(p.h));
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) out[v] *= part;
}

template <int NV>
void whole(const GlobalPoolParams& p, const Element* x, Element* y) {
  Vec out[NV];
  mean(p, x, [](const Element* at) __attribute__((always_inline)) { return load(at); }, out);
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) store(y + v * kLanes, out[v]);
}

// `count` channels of the image at x.
void channels(const GlobalPoolParams& p, const Element* x, int64_t count, Element* y) {
  int64_t k = 0;
  for (; k + kVectors * kLanes <= count; k += kVectors * kLanes) whole<kVectors>(p, x + k, y + k);
  for (; k + 2 * kLanes <= count; k += 2 * kLanes) whole<2>(p, x + k, y + k);
  for (; k + kLanes <= count; k += kLanes) whole<1>(p, x + k, y + k);
  if (k == count) return;
  Vec out[1];
  mean(p, x + k, [&](const Element* at) __attribute__((always_inline)) { return load_first(at, count - k); }, out);
  store_first(y + k, out[0], count - k);
}

void run(const GlobalPoolParams& p, const Ptrs& ptrs, Worker worker) {
  const int64_t vectors = (p.c + kLanes - 1) / kLanes;
  const Range mine = share(p.n * vectors, worker);
  for (int64_t item = mine.begin; item < mine.end;) {
    const int64_t n = item / vectors, first = item % vectors, left = mine.end - item;
    const int64_t last = first + left < vectors ? first + left : vectors;
    const int64_t k = first * kLanes, end = last * kLanes < p.c ? last * kLanes : p.c;
    channels(p, ptrs.x + n * p.pixels() * p.ldx + k, end - k, ptrs.y + n * p.ldy + k);
    item += last - first;
  }
}

const char* why_not(const GlobalPoolParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<GlobalPoolParams> global_pool_mean{
    "global_pool_mean_" PYCNN_KERNEL_SUFFIX, why_not, no_weights<GlobalPoolParams>, pack_nothing<GlobalPoolParams>,
    no_workspace<GlobalPoolParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
