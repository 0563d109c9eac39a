#include <cmath>
#include <cstring>

#include "base/cuda/host_machine.h"

namespace pycnn::cuda::fibers {
namespace {

constexpr int kDepth = 16;  // of one product

// The fields of a descriptor: start address, bytes between groups of 8 rows, and the 128-byte swizzle.
struct Descriptor {
  uint32_t start, group_stride;

  explicit Descriptor(uint64_t word)
      : start(static_cast<uint32_t>(word & 0x3fff) << 4),
        group_stride(static_cast<uint32_t>(word >> 32 & 0x3fff) << 4) {
    if (word >> 62 != 1) fail("a wgmma descriptor without the 128-byte swizzle");
    if ((word >> 49 & 7) != 0) fail("a wgmma descriptor with a base offset");
    if ((word >> 14 & 3) != 0 || (word >> 30 & 3) != 0 || (word >> 46 & 7) != 0 || (word >> 52 & 0x3ff) != 0)
      fail("a wgmma descriptor with bits outside its fields");
    if (start % kSwizzleAtom >= kSwizzleBytes) fail("a wgmma descriptor that starts inside a swizzled atom");
  }

  // The kDepth elements of a row, as two pieces of 16 bytes; NaN where no fence made them visible.
  void read(int row, float (*value)(uint16_t), float* to) const {
    constexpr int kPiece = 16;
    const uint32_t address =
        start + static_cast<uint32_t>(row / 8) * group_stride + static_cast<uint32_t>(row % 8 * kSwizzleBytes);
    for (int piece = 0; piece < kDepth * kMapElement / kPiece; ++piece) {
      const char* p = shared_at(swizzle128(address + static_cast<uint32_t>(piece * kPiece)), kPiece);
      uint16_t bits[kPiece / kMapElement];
      std::memcpy(bits, p, sizeof bits);
      const bool hidden = unfenced(p, sizeof bits);
      for (const uint16_t each : bits) *to++ = hidden ? NAN : value(each);
    }
  }
};

int accumulators(const WgmmaCall& call) { return call.n / 2; }

void finish(const Product& product, int warp_row) {
  const WgmmaCall& any = product.calls[0];
  const Descriptor a(any.a), b(any.b);
  float rows[16][kDepth];
  std::vector<float> columns(static_cast<size_t>(any.n * kDepth));
  for (int r = 0; r < 16; ++r) a.read(warp_row + r, any.value, rows[r]);
  for (int c = 0; c < any.n; ++c) b.read(c, any.value, &columns[static_cast<size_t>(c * kDepth)]);
  for (int lane = 0; lane < kWarp; ++lane)
    for (int i = 0; i < accumulators(any); ++i) {
      const float* row = rows[lane / 4 + i / 2 % 2 * 8];
      const float* column = &columns[static_cast<size_t>((i / 4 * 8 + lane % 4 * 2 + i % 2) * kDepth)];
      float sum = 0;
      for (int k = 0; k < kDepth; ++k) sum += row[k] * column[k];
      float& to = product.calls[lane].acc[i];
      to = product.fenced ? to + sum : NAN;
    }
}

void hide(Warp& warp, const WgmmaCall& call) {
  for (const Hidden& each : warp.hidden)
    if (each.of == call.acc) return;
  warp.hidden.push_back({call.acc, {call.acc, call.acc + accumulators(call)}});
  std::fill_n(call.acc, accumulators(call), NAN);
}

void show(Warp& warp, const WgmmaCall& call) {
  for (size_t i = 0; i < warp.hidden.size(); ++i)
    if (warp.hidden[i].of == call.acc) {
      std::copy(warp.hidden[i].values.begin(), warp.hidden[i].values.end(), call.acc);
      warp.hidden.erase(warp.hidden.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
}

// The warp's oldest product; the accumulators are shown again when it is the last one on them.
void land_product(Warp& warp) {
  const Product product = warp.products.front();
  warp.products.erase(warp.products.begin());
  for (const WgmmaCall& call : product.calls) show(warp, call);
  finish(product, here.thread / kWarp % 4 * 16);
  bool more = false;
  for (const Product& each : warp.products) more = more || each.calls[0].acc == product.calls[0].acc;
  for (const WgmmaCall& call : product.calls)
    if (more) hide(warp, call);
}

}  // namespace

void wgmma_issue(const WgmmaCall* const* calls) {
  Warp& warp = own_warp();
  Product product{{}, warp.group, warp.fenced};
  for (int lane = 0; lane < kWarp; ++lane) {
    product.calls[lane] = *calls[lane];
    if (calls[lane]->a != calls[0]->a || calls[lane]->b != calls[0]->b)
      fail("lanes of one warp give wgmma different operands");
    hide(warp, product.calls[lane]);
  }
  warp.products.push_back(product);
  if (random_below(2) == 0)
    while (!warp.products.empty()) land_product(warp);
}

void wgmma_fence() { own_warp().fenced = true; }

void wgmma_commit() { ++own_warp().group; }

void wgmma_wait(int flying) {
  Warp& warp = own_warp();
  while (!warp.products.empty() && warp.products.front().group < warp.group - flying) land_product(warp);
  warp.fenced = false;
}

}  // namespace pycnn::cuda::fibers
