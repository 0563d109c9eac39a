// The transforms of Winograd's minimal filtering F(m x m, r x r): a tile of m x m outputs is
//
//   Y = A^T [ (G g G^T) * (B^T d B) ] A,   d: the (m+r-1) x (m+r-1) inputs under it, g: the r x r filter
//
// so that 36 products do for F(4x4, 3x3) (16 for F(2x2, 3x3), 36 for F(2x2, 5x5)) what direct convolution does with 144
// (36, 100). The matrices are those of the points 0, 1, -1, inf for 4 inputs a line and 0, +-sqrt(1/2), +-sqrt(2), inf
// for 6: the latter halve the rounding error that the usual 0, +-1, +-2 have. B belongs to the points alone.
// Sources: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308); Barabasz et al.,
// "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks" (arXiv 1803.10986).
#pragma once
#include "base/simd/vec.h"

namespace pycnn::PYCNN_ISA_NS {
namespace {

constexpr double kRoot2 = 1.41421356237309504880;

// a x + b y with the second product rounded: which of two the compiler contracts would depend on what is around it, and bits
// on whether a tile is whole.
PYCNN_INLINE Vec sum_of_products(float a, Vec x, float b, Vec y) {
  Vec product = b * y;
  pin(product);
  return a * x + product;
}

// Both transforms go over the columns and then over the rows, in parts: lines of the result that share sums, so few that
// between the two they stay in registers. Each part loads what it needs again: at once, 36 inputs and 36 sums were spilled
// (F(4x4, 3x3) of 64 channels, AVX-512 on a Zen 5, in cycles a vector of channels: input 172 -> 127, output 170 -> 110).

// Lines [first, first + count).
struct Lines {
  int first, count;
};

// v = B^T d of one line. input<Part>: lines of part `Part`, d(i) being element i.
template <int Points>
struct Inputs;

template <>
struct Inputs<4> {
  static constexpr int kInputParts = 3;
  static constexpr Lines input_lines(int part) {
    return part == 0 ? Lines{0, 1} : part == 1 ? Lines{1, 2} : Lines{3, 1};
  }
  template <int Part, class Get>
  PYCNN_INLINE void input(const Get& d, Vec* v) {
    if constexpr (Part == 0) v[0] = d(0) - d(2);
    if constexpr (Part == 1) {
      const Vec d1 = d(1), d2 = d(2);
      v[0] = d1 + d2;
      v[1] = d2 - d1;
    }
    if constexpr (Part == 2) v[0] = d(1) - d(3);
  }
};

template <>
struct Inputs<6> {
  static constexpr int kInputParts = 4;
  static constexpr Lines input_lines(int part) {
    return part == 0 ? Lines{0, 1} : part == 1 ? Lines{1, 2} : part == 2 ? Lines{3, 2} : Lines{5, 1};
  }
  template <int Part, class Get>
  PYCNN_INLINE void input(const Get& d, Vec* v) {
    constexpr float a = static_cast<float>(kRoot2 / 2), b = static_cast<float>(kRoot2);
    if constexpr (Part == 0) v[0] = (d(0) + d(4)) - 2.5f * d(2);
    if constexpr (Part == 1) {
      const Vec even = d(4) - 2.0f * d(2), odd = d(3) - 2.0f * d(1);
      v[0] = even + a * odd;
      v[1] = even - a * odd;
    }
    if constexpr (Part == 2) {
      const Vec even = d(4) - 0.5f * d(2), odd = d(3) - 0.5f * d(1);
      v[0] = even + b * odd;
      v[1] = even - b * odd;
    }
    if constexpr (Part == 3) v[0] = (d(1) + d(5)) - 2.5f * d(3);
  }
};

// output<Part>: y = A^T m of one line, lines of part `Part`, m(i) being element i; part p has lines p, p + kOutputParts, ...
template <int M, int R>
struct Winograd;

template <>
struct Winograd<2, 3> : Inputs<4> {
  static inline double filter(int row, int tap) {
    static const double g[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
    return g[row][tap];
  }
  static constexpr int kOutputParts = 1;
  template <int Part, class Get>
  PYCNN_INLINE void output(const Get& m, Vec* y) {
    const Vec m1 = m(1), m2 = m(2);
    y[0] = m(0) + (m1 + m2);
    y[1] = (m1 - m2) - m(3);
  }
};

template <>
struct Winograd<4, 3> : Inputs<6> {
  static inline double filter(int row, int tap) {
    constexpr double a = kRoot2 / 2, b = kRoot2;
    static const double g[6][3] = {{1, 0, 0},
                                   {-2.0 / 3, -2 * a / 3, -1.0 / 3},
                                   {-2.0 / 3, 2 * a / 3, -1.0 / 3},
                                   {1.0 / 6, b / 6, 1.0 / 3},
                                   {1.0 / 6, -b / 6, 1.0 / 3},
                                   {0, 0, 1}};
    return g[row][tap];
  }
  static constexpr int kOutputParts = 2;
  template <int Part, class Get>
  PYCNN_INLINE void output(const Get& m, Vec* y) {
    constexpr float a = static_cast<float>(kRoot2 / 2), b = static_cast<float>(kRoot2);
    if constexpr (Part == 0) {
      const Vec even_a = m(1) + m(2), even_b = m(3) + m(4);
      y[0] = m(0) + even_a + even_b;
      y[1] = sum_of_products(0.5f, even_a, 2.0f, even_b);
    } else {
      const Vec odd_a = m(1) - m(2), odd_b = m(3) - m(4);
      y[0] = sum_of_products(a, odd_a, b, odd_b);
      y[1] = sum_of_products(0.5f * a, odd_a, 2.0f * b, odd_b) + m(5);
    }
  }
};

template <>
struct Winograd<2, 5> : Inputs<6> {
  static inline double filter(int row, int tap) {
    constexpr double a = kRoot2 / 2, b = kRoot2;
    static const double g[6][5] = {{1, 0, 0, 0, 0},
                                   {-2.0 / 3, -2 * a / 3, -1.0 / 3, -a / 3, -1.0 / 6},
                                   {-2.0 / 3, 2 * a / 3, -1.0 / 3, a / 3, -1.0 / 6},
                                   {1.0 / 6, b / 6, 1.0 / 3, b / 3, 2.0 / 3},
                                   {1.0 / 6, -b / 6, 1.0 / 3, -b / 3, 2.0 / 3},
                                   {0, 0, 0, 0, 1}};
    return g[row][tap];
  }
  static constexpr int kOutputParts = 1;
  template <int Part, class Get>
  PYCNN_INLINE void output(const Get& m, Vec* y) {
    constexpr float a = static_cast<float>(kRoot2 / 2), b = static_cast<float>(kRoot2);
    const Vec m1 = m(1), m2 = m(2), m3 = m(3), m4 = m(4);
    y[0] = m(0) + (m1 + m2) + (m3 + m4);
    y[1] = sum_of_products(a, m1 - m2, b, m3 - m4) + m(5);
  }
};

// v = B^T d of a whole line in registers.
template <class W, int Part = 0>
PYCNN_INLINE void input_line(const Vec* d, Vec* v) {
  W::template input<Part>([d](int i) __attribute__((always_inline)) { return d[i]; }, v + W::input_lines(Part).first);
  if constexpr (Part + 1 < W::kInputParts) input_line<W, Part + 1>(d, v);
}

// y = A^T m of a whole line in registers.
template <class W, int M, int Part = 0>
PYCNN_INLINE void output_line(const Vec* m, Vec* y) {
  constexpr int kParts = W::kOutputParts;
  Vec lines[M / kParts];
  W::template output<Part>([m](int i) __attribute__((always_inline)) { return m[i]; }, lines);
  for (int l = 0; l < M / kParts; ++l) y[Part + l * kParts] = lines[l];
  if constexpr (Part + 1 < kParts) output_line<W, M, Part + 1>(m, y);
}

// u[point][lane] = G g G^T of the filters of one panel and input channel, in fp64; g[tap][lane].
template <int M, int R>
void transform_filters(const double (&g)[R * R][kLanes], double (&u)[(M + R - 1) * (M + R - 1)][kLanes]) {
  using W = Winograd<M, R>;
  constexpr int kIn = M + R - 1;
  double half[kIn][R][kLanes];
  const auto line = [](int row, const double* first, int64_t step, double* out) __attribute__((always_inline)) {
    for (int lane = 0; lane < kLanes; ++lane) {
      double sum = 0;
      for (int tap = 0; tap < R; ++tap) sum += W::filter(row, tap) * first[tap * step + lane];
      out[lane] = sum;
    }
  };
  for (int i = 0; i < kIn; ++i)
    for (int j = 0; j < R; ++j) line(i, g[j], R * kLanes, half[i][j]);
  for (int i = 0; i < kIn; ++i)
    for (int j = 0; j < kIn; ++j) line(j, half[i][0], kLanes, u[i * kIn + j]);
}

}  // namespace
}  // namespace pycnn::PYCNN_ISA_NS
