// Sums and maxima over a warp or a block, in an order that depends on nothing but their sizes: same bits every run.
#pragma once
#include "base/cuda/elements.h"

namespace pycnn::cuda {

inline constexpr int kLanes = 32;

PYCNN_DEVICE float warp_sum(float v) {
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) v += shfl_xor(v, mask);
  return v;
}

// NaN if any is.
PYCNN_DEVICE float larger(float a, float b) { return b > a || b != b ? b : a; }

PYCNN_DEVICE float warp_max(float v) {
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2) v = larger(v, shfl_xor(v, mask));
  return v;
}

// The sum over a block of kThreads, known to all of them. partial: a float of shared memory for each warp, free before
// the call and after it until the next barrier.
template <int kThreads>
PYCNN_DEVICE float block_sum(float v, float* partial) {
  v = warp_sum(v);
  if (thread() % kLanes == 0) shared_store(partial + thread() / kLanes, v);
  sync();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / kLanes; ++warp) sum += shared_load(partial + warp);
  return sum;
}

// The sums of threads that share `across`, a power of two: thread % across tells whose each is, and those below `across`
// get them, added in pairs. In kThreads * kCount floats of shared memory.
template <int kThreads, int kCount>
PYCNN_DEVICE void sum_of_parts(float (&sum)[kCount], int across) {
  float* mine = reinterpret_cast<float*>(shared()) + thread();  // element e at e * kThreads: no bank conflicts
#pragma unroll
  for (int e = 0; e < kCount; ++e) shared_store(mine + e * kThreads, sum[e]);
  for (int half = kThreads / 2; half >= across; half /= 2) {
    sync();
    if (thread() < half)
#pragma unroll
      for (int e = 0; e < kCount; ++e) {
        sum[e] += shared_load(mine + e * kThreads + half);
        shared_store(mine + e * kThreads, sum[e]);
      }
  }
}

// f(piece, values) for the pieces of a row of c elements that belong to this lane of a warp.
template <class T, class F>
PYCNN_DEVICE void row_pieces(const T* row, int c, bool wide, F f) {
  for (int channel = thread() % kLanes * kPiece<T>; channel < c; channel += kLanes * kPiece<T>) {
    const int count = c - channel < kPiece<T> ? c - channel : kPiece<T>;
    float v[kPiece<T>];
    load_piece(row + channel, count, wide && count == kPiece<T>, v);
    f(channel, count, v);
  }
}

}  // namespace pycnn::cuda
