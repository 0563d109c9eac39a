// One tile of Winograd's convolution: its input to products' operands, its products to outputs.
#pragma once
#include "base/simd/activate.h"
#include "ops/conv2d/simd.h"
#include "ops/conv2d/winograd_transform.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

struct TileAt {
  int64_t n, y, x;  // image, first output row and column
};

// Of one tile: [point][...], `point` floats from one to the next.
struct TileProducts {
  const float* m;
  int64_t point;
};

// The same pointer, of which the compiler does not know where it comes from. Addresses are then sums of few registers; else
// it keeps one for each of the 36 elements, spilled.
template <class T>
PYCNN_INLINE T* opaque(T* p) {
  asm("" : "+r"(p));
  return p;
}

// Of one vector of channels, from part `Part` on: v[(i * kIn + j) * point] = (B^T d B)[i][j], get(j)(i) being d[i][j].
template <class W, int kIn, int Part = 0, class Get>
PYCNN_INLINE void input_parts(const Get& get, float* v, int64_t point) {
  constexpr Lines lines = W::input_lines(Part);
  Vec t[lines.count][kIn];
#pragma GCC unroll 6
  for (int j = 0; j < kIn; ++j) {
    Vec column[lines.count];
    W::template input<Part>(get(j), column);
    for (int l = 0; l < lines.count; ++l) t[l][j] = column[l];
  }
  for (int l = 0; l < lines.count; ++l) {
    Vec row[kIn];
    input_line<W>(t[l], row);
    float* const to = opaque(v + (lines.first + l) * kIn * point);
#pragma GCC unroll 6
    for (int j = 0; j < kIn; ++j) store(to + j * point, row[j]);
  }
  if constexpr (Part + 1 < W::kInputParts) input_parts<W, kIn, Part + 1>(get, v, point);
}

// v[point][c] = B^T d B of one tile; x: of the first channel.
template <int M, int R>
void transform_input(const Conv2dParams& p, const Element* x, const Element* zeros, TileAt at, int64_t channels,
                     float* v, int64_t point) {
  using W = Winograd<M, R>;
  constexpr int kIn = M + R - 1;
  const int64_t y0 = at.y - p.ph, x0 = at.x - p.pw, whole = channels / kLanes * kLanes;
  const int64_t line = p.dh * p.w * p.ldx, column = p.dw * p.ldx;
  // In both loops what the tile to the right reads beside this one is prefetched.
  const Element* first = x + ((at.n * p.h + y0) * p.w + x0) * p.ldx;
  if (y0 >= 0 && x0 >= 0 && y0 + (kIn - 1) * p.dh < p.h && x0 + (kIn - 1) * p.dw < p.w && whole == channels) {
    for (int64_t c = 0; c < channels; c += kLanes, first += kLanes) {
      for (int i = 0; i < kIn; ++i)
        for (int j = kIn; j < kIn + M; ++j) __builtin_prefetch(first + i * line + j * column);
      const auto get = [&](int j) __attribute__((always_inline)) {
        const Element* const d = opaque(first + j * column);
        return [=](int i) __attribute__((always_inline)) { return load(d + i * line); };
      };
      input_parts<W, kIn>(get, v + c, point);
    }
    return;
  }
  const Element* from[kIn][kIn];
  for (int i = 0; i < kIn; ++i)
    for (int j = 0; j < kIn; ++j) {
      const int64_t row = y0 + i * p.dh, col = x0 + j * p.dw;
      const bool inside = row >= 0 && row < p.h && col >= 0 && col < p.w;
      from[i][j] = inside ? first + i * line + j * column : zeros;
    }
  for (int64_t c = 0; c < whole; c += kLanes) {
    for (int i = 0; i < kIn; ++i)
      for (int j = kIn - M; j < kIn; ++j) __builtin_prefetch(from[i][j] + M * column + c);
    const auto get = [&](int j) __attribute__((always_inline)) {
      return [&, j](int i) __attribute__((always_inline)) { return load(from[i][j] + c); };
    };
    input_parts<W, kIn>(get, v + c, point);
  }
  if (whole < channels) {
    const auto get = [&](int j) __attribute__((always_inline)) {
      return [&, j](int i) __attribute__((always_inline)) { return load_first(from[i][j] + whole, channels - whole); };
    };
    input_parts<W, kIn>(get, v + whole, point);
  }
}

// Of one vector of channels, lines of part `Part` and behind: put(i, j, (A^T m A)[i][j]), m[(i * kIn + j) * point] being
// m[i][j].
template <class W, int M, int kIn, int Part = 0, class Put>
PYCNN_INLINE void output_parts(const float* m, int64_t point, const Put& put) {
  constexpr int kParts = W::kOutputParts, count = M / kParts;
  Vec t[count][kIn];
#pragma GCC unroll 6
  for (int j = 0; j < kIn; ++j) {
    Vec column[count];
    const float* const products = opaque(m + j * point);
    const auto get = [=](int i) __attribute__((always_inline)) { return load(products + i * kIn * point); };
    W::template output<Part>(get, column);
    for (int l = 0; l < count; ++l) t[l][j] = column[l];
  }
  for (int l = 0; l < count; ++l) {
    Vec y[M];
    output_line<W, M>(t[l], y);
#pragma GCC unroll 4
    for (int j = 0; j < M; ++j) put(Part + l * kParts, j, y[j]);
  }
  if constexpr (Part + 1 < kParts) output_parts<W, M, kIn, Part + 1>(m, point, put);
}

// Where the outputs of a tile lie: pixels of `rows` rows, `columns` of each; elements from one to the next.
struct OutputsAt {
  int64_t rows, columns;
  Element* y;
  int64_t line_y, column_y;
  const Element* residual;  // or null
  int64_t line_r, column_r;
};

// Outputs of a whole tile and whole vectors.
template <class W, int M, int kIn, bool Residual>
void put_whole(const OutputsAt& at, const float* bias, TileProducts from, int64_t count, Vec lo, Vec hi) {
  const Element* residual = at.residual;
  Element* y = at.y;
  const int64_t line_y = at.line_y, column_y = at.column_y, line_r = at.line_r, column_r = at.column_r;
  for (int64_t c = 0; c < count; c += kLanes) {
    const Vec b = bias ? load(bias + c) : Vec{};
    const auto put = [&](int i, int j, Vec v) __attribute__((always_inline)) {
      v += b;
      if constexpr (Residual) v += load(residual + i * line_r + j * column_r + c);
      store(y + i * line_y + j * column_y + c, at_most(at_least(v, lo), hi));
    };
    output_parts<W, M, kIn>(from.m + c, from.point, put);
  }
}

// Outputs of a tile of which some lie outside the map, or with channels that do not fill a vector.
template <class W, int M, int kIn>
void put_some(const OutputsAt& at, const float* bias, TileProducts from, int64_t count, Vec lo, Vec hi) {
  for (int64_t c = 0; c < count; c += kLanes) {
    const int64_t left = count - c;
    const bool whole = left >= kLanes;
    const auto get = [&](const auto* from)
                         __attribute__((always_inline)) { return whole ? load(from) : load_first(from, left); };
    const Vec b = bias ? get(bias + c) : Vec{};
    const auto put = [&](int i, int j, Vec v) __attribute__((always_inline)) {
      if (i >= at.rows || j >= at.columns) return;
      v += b;
      if (at.residual) v += get(at.residual + i * at.line_r + j * at.column_r + c);
      v = at_most(at_least(v, lo), hi);
      Element* y = at.y + i * at.line_y + j * at.column_y + c;
      if (whole)
        store(y, v);
      else
        store_first(y, v, left);
    };
    output_parts<W, M, kIn>(from.m + c, from.point, put);
  }
}

// Output pixels of one tile, `count` channels from k on: A^T m A + bias + residual, clamped or activated.
template <int M, int R>
void transform_output(const Conv2dParams& p, const Ptrs& ptrs, TileAt at, TileProducts m, int64_t k, int64_t count) {
  using W = Winograd<M, R>;
  constexpr int kIn = M + R - 1;
  if (at.y >= p.oh || at.x >= p.ow) return;  // of a map with one row or column of outputs less
  const int64_t pixel = (at.n * p.oh + at.y) * p.ow + at.x;
  const int64_t down = (p.oh - at.y + p.dh - 1) / p.dh, across = (p.ow - at.x + p.dw - 1) / p.dw;
  const OutputsAt to{down < M ? down : M,
                     across < M ? across : M,
                     ptrs.y + pixel * p.ldy + k,
                     p.dh * p.ow * p.ldy,
                     p.dw * p.ldy,
                     ptrs.residual ? ptrs.residual + pixel * p.ldr + k : nullptr,
                     p.dh * p.ow * p.ldr,
                     p.dw * p.ldr};
  const float* const bias = ptrs.bias ? ptrs.bias + k : nullptr;
  const Vec lo = broadcast(clamp_lo(p.act)), hi = broadcast(clamp_hi(p.act));
  if (to.rows < M || to.columns < M || count % kLanes != 0)
    put_some<W, M, kIn>(to, bias, m, count, lo, hi);
  else if (to.residual)
    put_whole<W, M, kIn, true>(to, bias, m, count, lo, hi);
  else
    put_whole<W, M, kIn, false>(to, bias, m, count, lo, hi);
  if (is_clamp(p.act)) return;
  for (int64_t i = 0; i < to.rows; ++i)
    activate_rows(to.y + i * to.line_y, to.column_y, to.columns, count, p.act, static_cast<float>(p.act_param));
}

}  // namespace
}  // namespace pycnn::PYCNN_ISA_NS
