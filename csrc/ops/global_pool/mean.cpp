// Some vectors of channels at a time, over all pixels. Every channel has kChains sums over pixels i, i + kChains, ..., which
// are joined pairwise: the additions overlap, and the order depends on neither the others nor the worker.
#include "base/simd/element.h"
#include "ops/global_pool/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int kChains = 4;
constexpr int kVectors = kLanes == 16 ? 4 : 2;  // kVectors * kChains sums of 32 or 16 registers

template <int NV, class Load>
PYCNN_INLINE void mean(const GlobalPoolParams& p, const Element* x, Load&& get, Vec (&out)[NV]) {
  Vec sum[kChains][NV];
#pragma GCC unroll 4
  for (int i = 0; i < kChains; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sum[i][v] = Vec{};
  int64_t pixel = 0;
  for (; pixel + kChains <= p.pixels(); pixel += kChains, x += kChains * p.ldx)
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i)
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sum[i][v] += get(x + i * p.ldx + v * kLanes);
#pragma GCC unroll 3
  for (int i = 0; i < kChains - 1; ++i)
    if (pixel + i < p.pixels())
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sum[i][v] += get(x + i * p.ldx + v * kLanes);
  const Vec count = broadcast(static_cast<float>(p.pixels()));
#pragma GCC unroll 4
  for (int v = 0; v < NV; ++v) out[v] = ((sum[0][v] + sum[1][v]) + (sum[2][v] + sum[3][v])) / count;
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
