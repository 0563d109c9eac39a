// Rows without gaps are one long row, split in whole vectors. An activation that is not a clamp is a second pass over a
// piece that is still in L1.
#include "ops/add_act/simd.h"
#include "base/simd/activate.h"
#include "base/simd/gemm.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr int64_t kPiece = 1024;  // floats: 12 KiB with both inputs

void add(const AddActParams& p, const Element* x, const Element* r, Element* y, int64_t n) {
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
  const auto clamp = [&](Vec v) __attribute__((always_inline)) { return at_most(at_least(v, lo), hi); };
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, clamp(load(x + i) + load(r + i)));
  if (i < n) store_first(y + i, clamp(load_first(x + i, n - i) + load_first(r + i, n - i)), n - i);
}

void row(const AddActParams& p, const Element* x, const Element* r, Element* y, int64_t n) {
  if (is_clamp(p.act)) return add(p, x, r, y, n);
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t size = n - i < kPiece ? n - i : kPiece;
    add(p, x + i, r + i, y + i, size);
    activate_rows(y + i, size, 1, size, p.act, static_cast<float>(p.act_param));
  }
}

void run(const AddActParams& p, const Ptrs& ptrs, Worker worker) {
  if (p.ldx == p.c && p.ldr == p.c && p.ldy == p.c) {
    const int64_t total = p.pixels * p.c;
    const Range vectors = share((total + kLanes - 1) / kLanes, worker);
    const int64_t begin = vectors.begin * kLanes, end = vectors.end * kLanes < total ? vectors.end * kLanes : total;
    if (begin < end) row(p, ptrs.x + begin, ptrs.residual + begin, ptrs.y + begin, end - begin);
    return;
  }
  const Range rows = share(p.pixels, worker);
  for (int64_t i = rows.begin; i < rows.end; ++i)
    row(p, ptrs.x + i * p.ldx, ptrs.residual + i * p.ldr, ptrs.y + i * p.ldy, p.c);
}

const char* why_not(const AddActParams&, const Machine& m) { return why_not_here(m); }

}  // namespace

extern const KernelOf<AddActParams> add_act_rows{
    "add_act_rows_" PYCNN_KERNEL_SUFFIX, why_not, no_weights<AddActParams>, pack_nothing<AddActParams>,
    no_workspace<AddActParams>,          run};

}  // namespace pycnn::PYCNN_ISA_NS
