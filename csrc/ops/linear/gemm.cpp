// Rows x packed panels. Work is split over panels when there are few rows, so that each worker streams its own part of
// the weights; over rows otherwise.
#include "base/simd/gemm.h"
#include "ops/linear/simd.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

int64_t packed_size(const LinearParams& p) { return floats_of(panels_of(p.k) * panel_size(1, p.c)); }

void pack(const LinearParams& p, const float* w, float* packed) {
  auto* to = reinterpret_cast<Element*>(packed);
  for (int64_t k0 = 0; k0 < p.k; k0 += kLanes) {
    const auto weight = [&](int64_t, int64_t c, int64_t lane)
                            __attribute__((always_inline)) { return w[(k0 + lane) * p.c + c]; };
    pack_panel(1, p.c, p.k - k0, weight, to);
  }
}

void run(const LinearParams& p, const Ptrs& ptrs, Worker worker) {
  const bool by_rows = p.m >= 2 * kMaxRows * worker.count;
  const Range rows = by_rows ? share(p.m, worker) : Range{0, p.m};
  const Range panels = by_rows ? Range{0, panels_of(p.k)} : share(panels_of(p.k), worker);
  const int64_t total = rows.end - rows.begin, tiles = (total + kMaxRows - 1) / kMaxRows;
  if (panels.begin >= panels.end) return;
  Tile tile{};
  tile.taps = 1, tile.depth = p.c, tile.panel = panel_size(1, p.c), tile.w = packed_panels(ptrs.w),
  tile.bias = ptrs.bias;
  tile.ldr = p.ldr, tile.ldy = p.ldy, tile.n = p.k;
  tile.lo = clamp_lo(p.act), tile.hi = clamp_hi(p.act);
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t first = rows.begin + total * t / tiles;
    const int mr = static_cast<int>(rows.begin + total * (t + 1) / tiles - first);
    const Element* pointers[kMaxRows];
    for (int r = 0; r < mr; ++r) pointers[r] = ptrs.x + (first + r) * p.ldx;
    tile.rows = pointers;
    tile.y = ptrs.y + first * p.ldy;
    tile.residual = ptrs.residual ? ptrs.residual + first * p.ldr : nullptr;
    run_panels(tile, mr, panels.begin, panels.end, p.act, static_cast<float>(p.act_param));
  }
}

const char* why_not(const LinearParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<LinearParams> linear_gemm{"linear_gemm_" PYCNN_KERNEL_SUFFIX, why_not, packed_size, pack,
                                                no_workspace<LinearParams>,         run};

}  // namespace pycnn::PYCNN_ISA_NS
