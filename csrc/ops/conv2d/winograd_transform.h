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

// v = B^T d of one column (or row); the elements of each are `step` vectors apart.
template <int Points>
struct Inputs;

template <>
struct Inputs<4> {
  PYCNN_INLINE void input(const Vec* d, Vec* v, int step) {
    v[0] = d[0] - d[2 * step];
    v[step] = d[step] + d[2 * step];
    v[2 * step] = d[2 * step] - d[step];
    v[3 * step] = d[step] - d[3 * step];
  }
};

template <>
struct Inputs<6> {
  PYCNN_INLINE void input(const Vec* d, Vec* v, int step) {
    constexpr float a = static_cast<float>(kRoot2 / 2), b = static_cast<float>(kRoot2);
    const Vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const Vec even_a = d4 - 2.0f * d2, odd_a = d3 - 2.0f * d1;
    const Vec even_b = d4 - 0.5f * d2, odd_b = d3 - 0.5f * d1;
    v[0] = (d0 + d4) - 2.5f * d2;
    v[step] = even_a + a * odd_a;
    v[2 * step] = even_a - a * odd_a;
    v[3 * step] = even_b + b * odd_b;
    v[4 * step] = even_b - b * odd_b;
    v[5 * step] = (d1 + d5) - 2.5f * d3;
  }
};

// output: y = A^T m of one column (or row).
template <int M, int R>
struct Winograd;

template <>
struct Winograd<2, 3> : Inputs<4> {
  static inline double filter(int row, int tap) {
    static const double g[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
    return g[row][tap];
  }
  PYCNN_INLINE void output(const Vec* m, Vec* y, int step) {
    const Vec even = m[step] + m[2 * step], odd = m[step] - m[2 * step];
    y[0] = m[0] + even;
    y[step] = odd - m[3 * step];
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
  PYCNN_INLINE void output(const Vec* m, Vec* y, int step) {
    constexpr float a = static_cast<float>(kRoot2 / 2), b = static_cast<float>(kRoot2);
    const Vec even_a = m[step] + m[2 * step], odd_a = m[step] - m[2 * step];
    const Vec even_b = m[3 * step] + m[4 * step], odd_b = m[3 * step] - m[4 * step];
    y[0] = m[0] + even_a + even_b;
    y[step] = a * odd_a + b * odd_b;
    y[2 * step] = 0.5f * even_a + 2.0f * even_b;
    y[3 * step] = (0.5f * a) * odd_a + (2.0f * b) * odd_b + m[5 * step];
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
  PYCNN_INLINE void output(const Vec* m, Vec* y, int step) {
    constexpr float a = static_cast<float>(kRoot2 / 2), b = static_cast<float>(kRoot2);
    y[0] = m[0] + (m[step] + m[2 * step]) + (m[3 * step] + m[4 * step]);
    y[step] = a * (m[step] - m[2 * step]) + b * (m[3 * step] - m[4 * step]) + m[5 * step];
  }
};

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
