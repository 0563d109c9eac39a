// The convolution as a product on Hopper's tensor cores: rows are output pixels, columns output channels, the reduction
// runs over taps and, inside a tap, over steps of 64 channels.
//
// A block has three warpgroups. One thread of the first asks TMA for tiles of x (128 pixels; of a map for windows, which
// makes the zeros of the padding) and of w into kStages buffers; the others multiply 64 pixels each by wgmma. A buffer's
// `full` barrier is over when its bytes have landed, its `empty` barrier when the 8 warps that multiply are done with it.
// Blocks are persistent: they take every grid_x()-th tile, and load the next while they end one. The epilogue is fp32.
//
// kPrologue: each warpgroup changes its rows of x in their buffer, through registers, before it multiplies them, while
// the products of the step before fly.
//
// kSplit > 1: a cluster of kSplit blocks makes one tile, each over its part of the reduction. The sums go to shared
// memory, and each block adds those of its share of the rows in the order of ranks, so that every run gives the same bits.
#pragma once
#include "base/cuda/elements.h"
#include "base/cuda/sm90.h"
#include "ops/conv2d/wgmma_maps.h"

namespace pycnn::cuda {

// What x passes on its way (conv2d.h): clamp(x * scale + shift), zeros up to whole steps of channels; or x * gate.
struct WgmmaPrologue {
  const float *scale, *shift;  // 16-byte aligned
  float low, high;
  const void* gate;  // a row of channels for each image
  int64_t ld;        // elements between rows
  int wide;          // whole pieces of them are aligned
};

struct WgmmaArgs {
  TensorMap x, w, residual, y;
  const float* bias;
  const void* residual_at;
  void* y_at;
  int64_t ldr, ldy;
  int pixels, k, oh, ow;
  int kw, sh, sw, ph, pw, dh, dw;
  int im2col;               // x is a map of pixels, not a matrix
  int chunks, steps;        // of a tap; of the reduction
  int tiles, n_tiles;       // in all; of output channels
  int residual_tma, y_tma;  // TMA moves them
  int c;                    // of x
  Act act;
  float act_param;
  WgmmaPrologue prologue;
};

template <class T_, int kBlockN_, int kStages_, int kSplit_ = 1, Prologue kPrologue_ = Prologue::kNone>
struct WgmmaTile {
  using T = T_;
  static constexpr int kBlockM = kWgmmaPixels, kBlockN = kBlockN_, kStages = kStages_, kSplit = kSplit_;
  static constexpr Prologue kPrologue = kPrologue_;
  static constexpr int kThreads = 384, kGroup = 128, kWarps = 8;  // warps that multiply
  static constexpr int kColumns = kBlockN / 8;                    // columns of 8 of a thread's sums
  static constexpr int kABytes = kBlockM * kSwizzleBytes, kBBytes = kBlockN * kSwizzleBytes;
  static constexpr int kStageBytes = kABytes + kBBytes;
  static constexpr int kBoxBytes = kStoredRows * kSwizzleBytes;  // of residual and y
  static constexpr int kBoxes = kSplit > 1 ? 0 : kBlockN / 64;   // of a warpgroup
  static constexpr int kBoxesAt = kStages * kStageBytes, kBarriersAt = kBoxesAt + 2 * kBoxes * kBoxBytes;
  static constexpr int kShared = kSwizzleAtom + kBarriersAt + (2 * kStages + 2) * 8;
  static_assert(kShared <= 227 * 1024);
  static_assert(kSplit == 1 || kWarps * kColumns * 32 * 16 <= kBoxesAt);  // the sums of all warps fit
};

// The block's shared memory, from a multiple of 1024 on.
template <class Tile>
struct WgmmaMemory {
  char* start = shared() + (kSwizzleAtom - shared_address(shared()) % kSwizzleAtom) % kSwizzleAtom;

  PYCNN_DEVICE char* a(int stage) const { return start + stage * Tile::kStageBytes; }
  PYCNN_DEVICE char* b(int stage) const { return a(stage) + Tile::kABytes; }
  PYCNN_DEVICE char* box(int group, int i) const {
    return start + Tile::kBoxesAt + (group * Tile::kBoxes + i) * Tile::kBoxBytes;
  }
  PYCNN_DEVICE uint64_t* full(int stage) const {
    return reinterpret_cast<uint64_t*>(start + Tile::kBarriersAt) + stage;
  }
  PYCNN_DEVICE uint64_t* empty(int stage) const { return full(Tile::kStages + stage); }
  PYCNN_DEVICE uint64_t* residual(int group) const { return full(2 * Tile::kStages + group); }
  // The four sums of a lane in 8 columns of 16 rows, those of `warp`.
  PYCNN_DEVICE char* sums(int warp, int column, int lane) const {
    return start + ((warp * Tile::kColumns + column) * 32 + lane) * 16;
  }

  PYCNN_DEVICE void start_barriers() const {
    if (thread() == 0) {
#pragma unroll 1
      for (int stage = 0; stage < Tile::kStages; ++stage) {
        mbarrier_init(full(stage), 1);
        mbarrier_init(empty(stage), Tile::kWarps);
      }
      mbarrier_init(residual(0), 1);
      mbarrier_init(residual(1), 1);
      mbarrier_init_fence();
    }
    sync();
  }
};

// Where a ring of buffers is: the phase is the parity of how often it went round.
template <int kStages>
struct Ring {
  int stage = 0, phase = 0;
  PYCNN_DEVICE void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

// The steps of the reduction that this block sums.
struct Steps {
  int begin, end;
};
template <class Tile>
PYCNN_DEVICE Steps own_steps(const WgmmaArgs& a) {
  if constexpr (Tile::kSplit == 1) return {0, a.steps};
  const int rank = cluster_rank();
  return {a.steps * rank / Tile::kSplit, a.steps * (rank + 1) / Tile::kSplit};
}

// Tiles of this block: every grid_x()-th, or one for a cluster.
template <class Tile, class F>
PYCNN_DEVICE void each_tile(const WgmmaArgs& a, F f) {
  if constexpr (Tile::kSplit > 1) {
    const int tile = static_cast<int>(block_x()) / Tile::kSplit;
    f(tile / a.n_tiles * Tile::kBlockM, tile % a.n_tiles * Tile::kBlockN);
  } else {
#pragma unroll 1
    for (int64_t tile = block_x(); tile < a.tiles; tile += grid_x())
      f(static_cast<int>(tile) / a.n_tiles * Tile::kBlockM, static_cast<int>(tile) % a.n_tiles * Tile::kBlockN);
  }
}

// One thread's work: every tile of x and w, as soon as its buffer is free. Tiles of w that fill the free buffers come
// before the kernels ahead are done, which only x has to wait for.
template <class Tile>
PYCNN_DEVICE void wgmma_produce(const WgmmaArgs& a, const WgmmaMemory<Tile>& memory) {
  Ring<Tile::kStages> ring;
  const Steps steps = own_steps<Tile>(a);
  int early = steps.end - steps.begin < Tile::kStages ? steps.end - steps.begin : Tile::kStages;
  const auto load_w = [&](int stage, int step, int channel) {
    mbarrier_expect(memory.full(stage), Tile::kStageBytes);
    tma_load(memory.b(stage), &a.w, step * static_cast<int>(kWgmmaChannels), channel, memory.full(stage));
  };
  const int first_tile = static_cast<int>(block_x()) / Tile::kSplit;
#pragma unroll 1
  for (int i = 0; i < early; ++i) load_w(i, steps.begin + i, first_tile % a.n_tiles * Tile::kBlockN);
  wait_for_earlier();
  each_tile<Tile>(a, [&](int pixel, int channel) {
    const int ox = pixel % a.ow, oy = pixel / a.ow % a.oh, n = pixel / a.ow / a.oh;
    const int x = ox * a.sw - a.pw, y = oy * a.sh - a.ph;
    int chunk = steps.begin % a.chunks, tap = steps.begin / a.chunks;
#pragma unroll 1
    for (int step = steps.begin; step < steps.end; ++step, ring.advance()) {
      uint64_t* full = memory.full(ring.stage);
      if (early > 0) {
        --early;
      } else {
        mbarrier_wait(memory.empty(ring.stage), ring.phase ^ 1);
        load_w(ring.stage, step, channel);
      }
      const int c = chunk * static_cast<int>(kWgmmaChannels);
      if (a.im2col) {
        tma_load_im2col(memory.a(ring.stage), &a.x, c, x, y, n, tap % a.kw * a.dw, tap / a.kw * a.dh, full);
      } else {
        tma_load(memory.a(ring.stage), &a.x, c, pixel, full);
      }
      if (++chunk == a.chunks) chunk = 0, ++tap;
    }
  });
}

// A step's 64 rows of x, from `pixel` on, as the prologue makes them of what landed: a thread changes one piece of each
// 16th row, which is the same channels since rows are swizzled by 8.
template <class Tile>
PYCNN_DEVICE void change_step(const WgmmaArgs& a, char* rows, int pixel, int step) {
  using T = typename Tile::T;
  constexpr int kElements = kPiece<T>;
  const WgmmaPrologue& p = a.prologue;
  const int lane = thread() % Tile::kGroup, row = lane / 8;
  const int first = step * static_cast<int>(kWgmmaChannels) + (lane % 8 ^ row % 8) * kElements;
  float factor[kElements], shift[kElements], v[kElements];
  if constexpr (Tile::kPrologue == Prologue::kNorm)
#pragma unroll
    for (int e = 0; e < kElements; e += 4) {
      const Vec16 scales = load16(p.scale + first + e, true), shifts = load16(p.shift + first + e, true);
#pragma unroll
      for (int f = 0; f < 4; ++f) factor[e + f] = bits_float(scales.word[f]), shift[e + f] = bits_float(shifts.word[f]);
    }
  const int left = a.c - first, count = left < kElements ? left : kElements;
#pragma unroll
  for (int i = 0; i < 64; i += 16) {
    char* at = rows + (row + i) * kSwizzleBytes + lane % 8 * 16;
    unpack<T>(shared_load16(at), v);
    if constexpr (Tile::kPrologue == Prologue::kNorm) {
#pragma unroll
      for (int e = 0; e < kElements; ++e) {
        v[e] = v[e] * factor[e] + shift[e];
        v[e] = v[e] < p.low ? p.low : v[e] > p.high ? p.high : v[e];
      }
    } else {
      const int image = pixel + row + i < a.pixels ? (pixel + row + i) / a.ow / a.oh : 0;
      load_piece(static_cast<const T*>(p.gate) + image * p.ld + first, count, p.wide && count == kElements, factor);
#pragma unroll
      for (int e = 0; e < kElements; ++e) v[e] *= factor[e];
    }
    shared_store16(at, pack_piece<T>(v));
  }
  fence_async();
  sync_threads(3 + thread() / Tile::kGroup, Tile::kGroup);
}

// Adds to acc the sums of 64 pixels from a's row 64 * group on, the first of which is `pixel`, over this block's steps;
// buffers are given back one step behind.
template <class Tile>
PYCNN_DEVICE void wgmma_multiply(const WgmmaArgs& a, const WgmmaMemory<Tile>& memory, Ring<Tile::kStages>& ring,
                                 int group, int pixel, float (&acc)[Tile::kBlockN / 2]) {
  const Steps steps = own_steps<Tile>(a);
  int step = steps.begin, previous = ring.stage;
#pragma unroll 1
  do {  // a block has a step at least
    mbarrier_wait(memory.full(ring.stage), ring.phase);
    char* first = memory.a(ring.stage) + group * 64 * kSwizzleBytes;
    if constexpr (Tile::kPrologue != Prologue::kNone) change_step<Tile>(a, first, pixel, step);
    const uint64_t rows = wgmma_descriptor(first);
    const uint64_t columns = wgmma_descriptor(memory.b(ring.stage));
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kWgmmaChannels / 16; ++k)
      wgmma<typename Tile::T, Tile::kBlockN>(acc, rows + 2 * k, columns + 2 * k);
    wgmma_commit();
    wgmma_wait<1>();
    if (step > steps.begin && thread() % 32 == 0) mbarrier_arrive(memory.empty(previous));
    previous = ring.stage;
    ring.advance();
  } while (++step < steps.end);
  wgmma_wait<0>();
  wgmma_results(acc);
  if constexpr (Tile::kSplit == 1)  // a cluster makes one tile
    if (thread() % 32 == 0) mbarrier_arrive(memory.empty(previous));
}

}  // namespace pycnn::cuda
