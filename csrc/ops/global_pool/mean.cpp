// A block of channels at a time, over all pixels. Every channel has kChains sums over pixels i, i + kChains, ..., which
// are joined pairwise: the additions overlap, and the order does not depend on the block or the worker.
#include "base/simd/element.h"
#include "ops/global_pool/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int kChains = 4;
constexpr int kVectors = kLanes == 16 ? 4 : 2;  // kVectors * kChains sums of 32 or 16 registers
constexpr int64_t kBlock = kVectors * kLanes;

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

// Channels 0 .. count <= kBlock of the image at x.
void block(const GlobalPoolParams& p, const Element* x, int64_t count, Element* y) {
  const auto whole = [](const Element* at) __attribute__((always_inline)) { return load(at); };
  if (count == kBlock) {
    Vec out[kVectors];
    mean(p, x, whole, out);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(y + v * kLanes, out[v]);
    return;
  }
  Vec out[1];
  int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    mean(p, x + k, whole, out);
    store(y + k, out[0]);
  }
  if (k == count) return;
  mean(p, x + k, [&](const Element* at) __attribute__((always_inline)) { return load_first(at, count - k); }, out);
  store_first(y + k, out[0], count - k);
}

void run(const GlobalPoolParams& p, const Ptrs& ptrs, Worker worker) {
  const int64_t blocks = (p.c + kBlock - 1) / kBlock;
  const Range mine = share(p.n * blocks, worker);
  for (int64_t item = mine.begin; item < mine.end; ++item) {
    const int64_t n = item / blocks, k = item % blocks * kBlock;
    const int64_t count = p.c - k < kBlock ? p.c - k : kBlock;
    block(p, ptrs.x + n * p.pixels() * p.ldx + k, count, ptrs.y + n * p.ldy + k);
  }
}

const char* why_not(const GlobalPoolParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<GlobalPoolParams> global_pool_mean{
    "global_pool_mean_" PYCNN_KERNEL_SUFFIX, why_not, no_weights<GlobalPoolParams>, pack_nothing<GlobalPoolParams>,
    no_workspace<GlobalPoolParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
