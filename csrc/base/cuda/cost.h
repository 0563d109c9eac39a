// What a launch is predicted to take, from what its blocks do and what a GPU can do: the choice among kernels where
// nothing was measured, and bench/gpu_floor.py. An estimate: nothing of it was measured yet.
//
//   on chip = max(products, moves, waits)
//   products  of the SM that has most blocks, at the part of its rate that a block's tile keeps up
//   moves     what that SM's blocks move between it and the L2, or all blocks move, at the bandwidths of both
//   waits     times that a block waits for memory, one after the other, for as many blocks as follow each other
//
// A launch takes the largest of that and its bytes over the memory's bandwidth, each byte once, and what a launch costs.
// The last two are the same for all kernels of a problem and do not choose.
#pragma once
#include <cmath>

#include "base/dtype.h"

namespace pycnn::cuda {

// An H200: what predictions are for. What no data sheet has is assumed: compare arXiv 2402.13499's microbenchmarks, and
// measure it (bench/gpu_check.py).
struct Gpu {
  double sms = 132;            // data sheet
  double products = 989e12;    // data sheet: dense operations of bf16 a second, by wgmma
  double vectors = 67e12;      // data sheet: fp32 operations a second
  double memory = 4.8e12;      // data sheet: bytes a second of HBM3e
  double l2 = 7.2e12;          // assumed: between the L2 and all SMs, 0.8 of 5120 bytes a clock of 1.755 GHz
  double port = 112e9;         // assumed: between the L2 and one SM, 64 bytes a clock of 1.755 GHz
  double l2_bytes = 50 << 20;  // NVIDIA's of the H100
  double mma_sync = 0.63;      // assumed: of the rate of wgmma
  double wait = 0.27e-6;       // assumed: seconds from a load to its data, 479 clocks
  double launch = 1.5e-6;      // assumed: seconds from a kernel of a CUDA graph to the next, when both do nothing
  int64_t sm_threads = 2048, sm_shared = 227 << 10;
};
inline constexpr Gpu kGpu;

// Of one launch, whose blocks are alike.
struct Demand {
  double blocks = 0;
  double operations = 0;       // of a block, those of a tile's padding among them; a multiply-add is two
  double rate = kGpu.vectors;  // of a whole GPU of such blocks
  double bytes = 0;            // that a block moves between its SM and the L2
  double waits = 0;            // of a block
  double resident = 1;         // blocks that an SM has at once
};

struct Cost {
  double products = 0, moves = 0, waits = 0, launches = 0;

  double on_chip() const { return std::fmax(products, std::fmax(moves, waits)); }
  double seconds() const { return on_chip() + launches * kGpu.launch; }
  Cost& operator+=(const Cost& other) {
    products += other.products, moves += other.moves, waits += other.waits, launches += other.launches;
    return *this;
  }
};

inline Cost cost_of(const Demand& d) {
  const double most = std::ceil(d.blocks / kGpu.sms);  // blocks of one SM
  const double moves = std::fmax(most * d.bytes / kGpu.port, d.blocks * d.bytes / kGpu.l2);
  return {most * d.operations * kGpu.sms / d.rate, moves, std::ceil(most / d.resident) * d.waits * kGpu.wait,
          d.blocks > 0 ? 1.0 : 0.0};
}

// Blocks of so many threads and bytes of shared memory that an SM has at once, registers aside.
inline double resident_blocks(int64_t threads, int64_t shared_bytes) {
  const int64_t by_threads = kGpu.sm_threads / threads;
  const int64_t by_shared = shared_bytes > 0 ? kGpu.sm_shared / (shared_bytes + 1024) : by_threads;  // 1 KiB is CUDA's
  return static_cast<double>(by_shared < 1 ? 1 : by_shared < by_threads ? by_shared : by_threads);
}

// The part of the tensor cores' rate that a tile of m x n keeps up: products to bytes of shared memory that it reads,
// beside those of 128 x 128.
inline double tile_share(double m, double n) { return std::fmin(1.0, m * n / (m + n) / 64); }

// Of products of that arithmetic by mma.sync: fp32's are three of TF32, whose rate is half.
inline double mma_rate(bool sixteen_bits, double products) {
  return kGpu.products * kGpu.mma_sync * (sixteen_bits ? 1 : 0.5) / products;
}

// A kernel of 256 threads a block, each with 16 bytes to read and 16 to write: all that have no cost of their own.
inline Cost pieces_cost(double bytes, double operations) {
  constexpr double kThreads = 256, kBytes = 32;
  const double blocks = std::ceil(bytes / (kThreads * kBytes));
  if (blocks == 0) return {};
  return cost_of({blocks, operations / blocks, kGpu.vectors, bytes / blocks, 2, resident_blocks(256, 0)});
}

}  // namespace pycnn::cuda
