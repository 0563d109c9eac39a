// What follows the sums of wgmma_tile.h: bias, residual, activation, stores; and the kernel.
//
// A thread's four sums of column j: pixels row, row + 8, channels channel, channel + 1.
#pragma once
#include "ops/conv2d/wgmma_tile.h"

namespace pycnn::cuda {

PYCNN_DEVICE void add_bias(const WgmmaArgs& a, int channel, float* v) {
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const float bias = channel + e < a.k ? load(a.bias + channel + e) : 0.0f;
    v[e] += bias, v[2 + e] += bias;
  }
}

template <class T>
PYCNN_DEVICE void add_residual(const WgmmaArgs& a, int pixel, int channel, float* v) {
  const T* residual = static_cast<const T*>(a.residual_at);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t row = pixel + i / 2 * 8;
    if (row < a.pixels && channel + i % 2 < a.k) v[i] += to_float(load(residual + row * a.ldr + channel + i % 2));
  }
}

template <class T>
PYCNN_DEVICE void store_sums(const WgmmaArgs& a, int pixel, int channel, const float* v) {
  T* y = static_cast<T*>(a.y_at);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t row = pixel + i / 2 * 8;
    if (row < a.pixels && channel + i % 2 < a.k) store(y + row * a.ldy + channel + i % 2, from_float<T>(v[i]));
  }
}

// Two elements of T in a box that TMA moves: columns j * 8 + lane % 4 * 2 of row lane / 4 + half * 8 of this warp.
template <class Tile>
PYCNN_DEVICE uint32_t* in_box(const WgmmaMemory<Tile>& memory, int group, int j, int half) {
  const int lane = thread() % 32, row = thread() / 32 % 4 * 16 + lane / 4 + half * 8;
  const int piece = (j % 8 ^ row % 8) * 16;  // swizzled
  return reinterpret_cast<uint32_t*>(memory.box(group, j / 8) + row * kSwizzleBytes + piece + lane % 4 * 4);
}

// The boxes of this warpgroup's rows that lie in the matrix: f(box, first channel), by one thread.
template <class Tile, class F>
PYCNN_DEVICE void each_box(const WgmmaArgs& a, int pixel, int channel, F f) {
#pragma unroll
  for (int i = 0; i < Tile::kBoxes; ++i)
    if (pixel < a.pixels && channel + i * 64 < a.k) f(i, channel + i * 64);
}

// Asks for the residual of a tile, once its boxes have been stored.
template <class Tile>
PYCNN_DEVICE void fetch_residual(const WgmmaArgs& a, const WgmmaMemory<Tile>& memory, int group, int pixel,
                                 int channel) {
  if (!a.residual_tma || thread() % Tile::kGroup != 0) return;
  int boxes = 0;
  each_box<Tile>(a, pixel, channel, [&](int, int) { ++boxes; });
  if (a.y_tma) tma_store_wait();
  mbarrier_expect(memory.residual(group), boxes * Tile::kBoxBytes);
  each_box<Tile>(a, pixel, channel, [&](int i, int first) {
    tma_load(memory.box(group, i), &a.residual, first, pixel, memory.residual(group));
  });
}

// pixel: the warpgroup's first. A residual that TMA brought is replaced by the result where it lies.
template <class Tile>
PYCNN_DEVICE void wgmma_epilogue(const WgmmaArgs& a, const WgmmaMemory<Tile>& memory, int group, int parity, int pixel,
                                 int channel, float (&acc)[Tile::kBlockN / 2]) {
  using T = typename Tile::T;
  const int lane = thread() % 32, own_pixel = pixel + thread() / 32 % 4 * 16 + lane / 4;
  const int own_channel = channel + lane % 4 * 2, barrier = 1 + group;
  const bool leader = thread() % Tile::kGroup == 0;
  if (a.bias)
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) add_bias(a, own_channel + j * 8, &acc[j * 4]);
  if (a.residual_tma) {
    mbarrier_wait(memory.residual(group), parity);
#pragma unroll
    for (int i = 0; i < 2 * Tile::kColumns; ++i) {
      const uint32_t two = shared_load(in_box(memory, group, i / 2, i % 2));
      acc[i * 2] += to_float(T{static_cast<uint16_t>(two)});
      acc[i * 2 + 1] += to_float(T{static_cast<uint16_t>(two >> 16)});
    }
  } else if (a.residual_at) {
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) add_residual<T>(a, own_pixel, own_channel + j * 8, &acc[j * 4]);
  }
  constexpr int kAtOnce = 32;  // of all 128 sums of a tile's 256 channels, ptxas spills some
#pragma unroll
  for (int i = 0; i < Tile::kBlockN / 2; i += kAtOnce)
    activate(reinterpret_cast<float (&)[kAtOnce]>(acc[i]), a.act, a.act_param);
  if (!a.y_tma) {
    if (a.residual_tma) sync_threads(barrier, Tile::kGroup);  // all have read the boxes, and the next may come
#pragma unroll
    for (int j = 0; j < Tile::kColumns; ++j) store_sums<T>(a, own_pixel, own_channel + j * 8, &acc[j * 4]);
    return;
  }
  if (!a.residual_tma) {
    if (leader) tma_store_wait();
    sync_threads(barrier, Tile::kGroup);  // the boxes are free
  }
#pragma unroll
  for (int i = 0; i < 2 * Tile::kColumns; ++i) {
    const uint32_t low = from_float<T>(acc[i * 2]).bits, high = from_float<T>(acc[i * 2 + 1]).bits;
    shared_store(in_box(memory, group, i / 2, i % 2), low | high << 16);
  }
  fence_async();
  sync_threads(barrier, Tile::kGroup);
  if (!leader) return;
  each_box<Tile>(a, pixel, channel, [&](int i, int first) { tma_store(&a.y, memory.box(group, i), first, pixel); });
  tma_store_commit();
}

// The sums of the cluster's blocks, added and finished: of each warp's 16 rows, by the block whose share they are.
template <class Tile>
PYCNN_DEVICE void wgmma_join(const WgmmaArgs& a, const WgmmaMemory<Tile>& memory, int warp, int pixel, int channel,
                             const float (&acc)[Tile::kBlockN / 2]) {
  using T = typename Tile::T;
  constexpr int kShare = Tile::kWarps / Tile::kSplit;  // of a tile's eight times 16 rows
  static_assert(Tile::kColumns == Tile::kWarps);
  const int lane = thread() % 32, rank = cluster_rank();
  sync_threads(1, 2 * Tile::kGroup);  // buffers, where the sums go, have been read by all
#pragma unroll
  for (int j = 0; j < Tile::kColumns; ++j) {
    Vec16 four;
#pragma unroll
    for (int i = 0; i < 4; ++i) four.word[i] = float_bits(acc[j * 4 + i]);
    shared_store16(memory.sums(warp, j, lane), four);
  }
  cluster_sync();
#pragma unroll 1
  for (int i = 0; i < kShare; ++i) {
    const int of = rank * kShare + i, row = pixel + of * 16 + lane / 4, first = channel + warp * 8 + lane % 4 * 2;
    float v[4] = {};
#pragma unroll
    for (int from = 0; from < Tile::kSplit; ++from) {
      const Vec16 four = cluster_load16(memory.sums(of, warp, lane), from);
#pragma unroll
      for (int e = 0; e < 4; ++e) v[e] += bits_float(four.word[e]);
    }
    if (a.bias) add_bias(a, first, v);
    if (a.residual_at) add_residual<T>(a, row, first, v);
    activate(v, a.act, a.act_param);
    store_sums<T>(a, row, first, v);
  }
  cluster_sync();  // no block ends while another reads its sums
}

template <class Tile>
PYCNN_DEVICE void wgmma_consume(const WgmmaArgs& a, const WgmmaMemory<Tile>& memory) {
  const int group = thread() / Tile::kGroup - 1, warp = thread() / 32 - 4;
  Ring<Tile::kStages> ring;
  int parity = 0;
  wait_for_earlier();  // residual is read and y written here
  each_tile<Tile>(a, [&](int pixel, int channel) {
    float acc[Tile::kBlockN / 2] = {};
    if constexpr (Tile::kSplit == 1) fetch_residual(a, memory, group, pixel + group * 64, channel);
    wgmma_multiply(a, memory, ring, group, pixel + group * 64, acc);
    if constexpr (Tile::kSplit == 1) {
      wgmma_epilogue(a, memory, group, parity, pixel + group * 64, channel, acc);
    } else {
      wgmma_join(a, memory, warp, pixel, channel, acc);
    }
    parity ^= 1;
  });
  if constexpr (Tile::kSplit == 1)
    if (a.y_tma && thread() % Tile::kGroup == 0) tma_store_wait();
}

// 40 registers for the warpgroup that loads, 232 for those that multiply: 128 * 40 + 256 * 232 of 65536.
template <class Tile>
PYCNN_GLOBAL(Tile::kThreads)
conv_wgmma(PYCNN_GRID_CONSTANT WgmmaArgs a) {
  if constexpr (kSm90) {
    const WgmmaMemory<Tile> memory;
    memory.start_barriers();
    if (thread() < Tile::kGroup) {
      registers_fewer<40>();
      if (thread() == 0) wgmma_produce(a, memory);
    } else {
      registers_more<232>();
      wgmma_consume(a, memory);
    }
  }
}

}  // namespace pycnn::cuda
