#include "ops/conv2d/reference.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/act_reference.h"

namespace pycnn {
namespace {

int64_t weights(const Conv2dParams& p) { return p.k * p.group_c() * p.kh * p.kw; }

int64_t packed_size(const Conv2dParams& p) { return weights(p) + (p.prologue == Prologue::kNorm ? 2 * p.c : 0); }

void pack(const Conv2dParams& p, const float* w, float* packed) {
  std::memcpy(packed, w, static_cast<size_t>(packed_size(p)) * sizeof(float));
}

double at(const Conv2dParams& p, const Ptrs& ptrs, int64_t n, int64_t y, int64_t xx, int64_t c) {
  const double x =
      p.x_nchw ? ptrs.x[((n * p.c + c) * p.h + y) * p.w + xx] : ptrs.x[((n * p.h + y) * p.w + xx) * p.ldx + c];
  if (p.prologue == Prologue::kGate) return x * ptrs.gate[n * p.ldg + c];
  if (p.prologue == Prologue::kNone) return x;
  const float* const scale = ptrs.w + weights(p);
  return act_reference(x * scale[c] + scale[p.c + c], p.prologue_act, 0);
}

double sum(const Conv2dParams& p, const Ptrs& ptrs, int64_t n, int64_t oy, int64_t ox, int64_t k) {
  const int64_t g = k / p.group_k(), cs = p.group_c();
  double total = 0;
  for (int64_t i = 0; i < p.kh; ++i)
    for (int64_t j = 0; j < p.kw; ++j) {
      const int64_t y = oy * p.sh - p.ph + i * p.dh, x = ox * p.sw - p.pw + j * p.dw;
      if (y < 0 || y >= p.h || x < 0 || x >= p.w) continue;
      for (int64_t c = 0; c < cs; ++c)
        total += at(p, ptrs, n, y, x, g * cs + c) * ptrs.w[((k * cs + c) * p.kh + i) * p.kw + j];
    }
  return total;
}

void some_pixels(const Conv2dParams& p, const Ptrs& ptrs, Range pixels) {
  for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
    const int64_t ox = pixel % p.ow, oy = pixel / p.ow % p.oh, n = pixel / (p.ow * p.oh);
    for (int64_t k = 0; k < p.k; ++k) {
      double v = sum(p, ptrs, n, oy, ox, k);
      if (ptrs.bias) v += ptrs.bias[k];
      if (ptrs.residual) v += ptrs.residual[pixel * p.ldr + k];
      ptrs.y[pixel * p.ldy + k] = static_cast<float>(act_reference(v, p.act, p.act_param));
    }
  }
}

void run(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) { some_pixels(p, ptrs, share(p.pixels(), worker)); }

void run_means(const Conv2dParams& p, const Ptrs& ptrs, Worker worker) {
  const Range rows = share(p.n * p.oh, worker);
  some_pixels(p, ptrs, {rows.begin * p.ow, rows.end * p.ow});
  if (!ptrs.means) return;
  for (int64_t row = rows.begin; row < rows.end; ++row)
    for (int64_t k = 0; k < p.k; ++k) {
      double total = 0;
      for (int64_t ox = 0; ox < p.ow; ++ox) total += ptrs.y[(row * p.ow + ox) * p.ldy + k];
      ptrs.means[row * p.k + k] = static_cast<float>(total / static_cast<double>(p.ow));
    }
}

// The largest of one window's outputs before the activation; -inf: it sees none.
double largest(const ConvPoolParams& p, const Ptrs& ptrs, int64_t n, int64_t py, int64_t px, int64_t k) {
  double most = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < p.window; ++i)
    for (int64_t j = 0; j < p.window; ++j) {
      const int64_t oy = py * p.stride - p.pad + i, ox = px * p.stride - p.pad + j;
      if (oy < 0 || oy >= p.conv.oh || ox < 0 || ox >= p.conv.ow) continue;
      const double v = sum(p.conv, ptrs, n, oy, ox, k) + (ptrs.bias ? ptrs.bias[k] : 0);
      if (v > most || std::isnan(v)) most = v;
    }
  return most;
}

void run_pool(const ConvPoolParams& p, const Ptrs& ptrs, Worker worker) {
  const Range pixels = share(p.conv.n * p.pooled_h * p.pooled_w, worker);
  for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
    const int64_t px = pixel % p.pooled_w, py = pixel / p.pooled_w % p.pooled_h, n = pixel / (p.pooled_w * p.pooled_h);
    for (int64_t k = 0; k < p.conv.k; ++k) {
      const double most = largest(p, ptrs, n, py, px, k);
      ptrs.y[pixel * p.conv.ldy + k] = static_cast<float>(act_reference(most, p.conv.act, p.conv.act_param));
    }
  }
}

const char* why_not_pool(const ConvPoolParams& p, const Machine&) { return why_not_prologue(p.conv); }

const char* why_not_means(const Conv2dParams& p, const Machine&) { return why_not_prologue(p); }

const char* why_not(const Conv2dParams& p, const Machine&) {
  if (p.prologue == Prologue::kNone) return nullptr;
  return sees_pixels(p) ? nullptr : "has a prologue for 1 x 1 windows alone";
}

}  // namespace

const Conv2dKernel conv2d_reference{"conv2d_reference", why_not, packed_size, pack, no_workspace<Conv2dParams>, run};
const Conv2dKernel conv2d_means_reference{"conv2d_means_reference",   why_not_means, packed_size, pack,
                                          no_workspace<Conv2dParams>, run_means};
const ConvPoolKernel conv2d_pool_reference{
    "conv2d_pool_reference",
    why_not_pool,
    [](const ConvPoolParams& p) { return packed_size(p.conv); },
    [](const ConvPoolParams& p, const float* w, float* packed) { pack(p.conv, w, packed); },
    no_workspace<ConvPoolParams>,
    run_pool};

}  // namespace pycnn
