#include "base/cuda/pieces.h"
#include "base/cuda/reduce.h"
#include "ops/excitation/cuda.h"

namespace pycnn::cuda {
constexpr int kThreads = 512;
constexpr int kImages = 4;  // of a block: each weight is read once for all of them

// A layer as the kernel reads it: rows of whole pieces, zeros behind the last element.
struct GateLayer {
  const void* w;
  const float* bias;
  int rows, pieces;
  int lanes;  // threads that share a row, a power of two up to a warp
  Act act;
  float act_param;
};

struct ExcitationArgs {
  const void* x;
  const float* sums;  // [n][parts][c], where there are parts
  void* y;
  int64_t ldx, ldy;
  int n, c, parts;
  float scale;  // 1 / pixels
  GateLayer reduce, expand;
};

// Adds up what the layer makes of each image's row of `in`, fp32 in shared memory: put(row, image, value).
template <class T, class Put>
PYCNN_DEVICE void gate_layer(const GateLayer& layer, const float* in, const Put& put) {
  constexpr int kElements = kPiece<T>;
  const int lane = thread() % layer.lanes, ld = layer.pieces * kElements, step = kThreads / layer.lanes;
  // Whole warps go round together: all of their lanes take part in the sums.
#pragma unroll 1
  for (int first = 0; first < layer.rows; first += step) {
    const int row = first + thread() / layer.lanes;
    float sum[kImages] = {};
    if (row < layer.rows)
#pragma unroll 1
      for (int piece = lane; piece < layer.pieces; piece += layer.lanes) {
        float w[kElements];
        unpack<T>(load16(static_cast<const T*>(layer.w) + static_cast<int64_t>(row) * ld + piece * kElements, true), w);
#pragma unroll
        for (int image = 0; image < kImages; ++image)
#pragma unroll
          for (int e = 0; e < kElements; e += 4) {
            const Vec16 v = shared_load16(in + image * ld + piece * kElements + e);
#pragma unroll
            for (int f = 0; f < 4; ++f) sum[image] += w[e + f] * bits_float(v.word[f]);
          }
      }
    for (int mask = layer.lanes / 2; mask > 0; mask /= 2)
#pragma unroll
      for (int image = 0; image < kImages; ++image) sum[image] += shfl_xor(sum[image], mask);
    if (lane > 0 || row >= layer.rows) continue;
    const float bias = load(layer.bias + row);
    each(sum, [bias](float v) { return v + bias; });
    activate(sum, layer.act, layer.act_param);
#pragma unroll
    for (int image = 0; image < kImages; ++image) put(row, image, sum[image]);
  }
}

template <class T>
PYCNN_DEVICE float gate_mean(const ExcitationArgs& a, int64_t image, int c) {
  if (a.parts == 0) return to_float(load(static_cast<const T*>(a.x) + image * a.ldx + c));
  const float* sums = a.sums + image * a.parts * a.c + c;
  float sum = 0;
#pragma unroll 8
  for (int part = 0; part < a.parts; ++part) sum += load(sums + static_cast<int64_t>(part) * a.c);
  return sum * a.scale;
}

template <class T>
PYCNN_GLOBAL(kThreads)
excitation(ExcitationArgs a) {
  const int64_t first = block_x() * kImages;
  const int c_ld = a.reduce.pieces * kPiece<T>, s_ld = a.expand.pieces * kPiece<T>;
  float* means = reinterpret_cast<float*>(shared());
  float* hidden = means + kImages * c_ld;
  wait_for_earlier();
#pragma unroll 1
  for (int at = thread(); at < kImages * c_ld; at += kThreads) {
    const int64_t image = first + at / c_ld;
    const int c = at % c_ld;
    shared_store(means + at, c < a.c && image < a.n ? gate_mean<T>(a, image, c) : 0.0f);
  }
#pragma unroll 1
  for (int at = thread(); at < kImages * s_ld; at += kThreads)
    if (at % s_ld >= a.reduce.rows) shared_store(hidden + at, 0.0f);
  sync();
  gate_layer<T>(a.reduce, means, [&](int row, int image, float v) { shared_store(hidden + image * s_ld + row, v); });
  sync();
  T* y = static_cast<T*>(a.y);
  gate_layer<T>(a.expand, hidden, [&](int row, int image, float v) {
    if (first + image < a.n) store(y + (first + image) * a.ldy + row, from_float<T>(v));
  });
}

template <class T>
struct Excitation {
  using Type = T;

  static int64_t padded(int64_t count) { return pieces_of<T>(count) * kPiece<T>; }
  static int64_t shared_bytes(const ExcitationParams& p) {
    return kImages * (padded(p.c) + padded(p.s)) * static_cast<int64_t>(sizeof(float));
  }

  static const char* why_not(const ExcitationParams& p) {
    constexpr int64_t kShared = 160 << 10, kWeights = 1 << 20, kMost = 1 << 30;
    if (p.n > kMost || p.n * p.parts * p.c > kMost || p.pixels > kMost) return "has more than 2^30 sums or pixels";
    if (shared_bytes(p) > kShared) return "has more channels than the shared memory of a block";
    // A block reads all weights by itself: 1 MiB from the L2 takes about as long as two launches that share them out. An
    // estimate, not measured yet.
    if (2 * p.c * p.s * static_cast<int64_t>(sizeof(T)) > kWeights) return "has more than 1 MiB of weights";
    return p.sums * static_cast<int64_t>(sizeof(T)) % 4 == 0 ? nullptr : "needs sums on a multiple of 4 bytes";
  }

  // Both layers' rows, then both biases.
  static int64_t weights(const ExcitationParams& p) { return p.s * padded(p.c) + p.c * padded(p.s); }
  static int64_t packed_bytes(const ExcitationParams& p) {
    return weights(p) * static_cast<int64_t>(sizeof(T)) + (p.s + p.c) * static_cast<int64_t>(sizeof(float));
  }

  static void pack(const ExcitationParams& p, const float* w, void* packed) {
    T* to = static_cast<T*>(packed);
    float* bias = reinterpret_cast<float*>(to + weights(p));
    for (int layer = 0; layer < 2; ++layer) {
      const int64_t rows = layer == 0 ? p.s : p.c, columns = layer == 0 ? p.c : p.s, ld = padded(columns);
      for (int64_t row = 0; row < rows; ++row, w += columns, to += ld)
        for (int64_t i = 0; i < ld; ++i) to[i] = from_float<T>(i < columns ? w[i] : 0.0f);
      for (int64_t row = 0; row < rows; ++row) *bias++ = *w++;
    }
  }

  static GateLayer layer(int64_t rows, int64_t columns) {
    GateLayer made{};
    made.rows = static_cast<int>(rows), made.pieces = static_cast<int>(pieces_of<T>(columns)), made.lanes = 1;
    while (made.lanes < kLanes && made.lanes < made.pieces) made.lanes *= 2;
    return made;
  }

  static const char* launch(const ExcitationParams& p, const Ptrs& ptrs, Stream stream) {
    if (!aligned16(ptrs.w)) return "packed weights do not start on a multiple of 16 bytes";
    if (p.n * p.c == 0) return nullptr;
    ExcitationArgs a{};
    a.x = ptrs.x, a.sums = reinterpret_cast<const float*>(static_cast<const T*>(ptrs.x) + p.sums), a.y = ptrs.y;
    a.ldx = p.ldx, a.ldy = p.ldy;
    a.n = static_cast<int>(p.n), a.c = static_cast<int>(p.c), a.parts = static_cast<int>(p.parts);
    a.scale = 1 / static_cast<float>(p.pixels);
    a.reduce = layer(p.s, p.c), a.expand = layer(p.c, p.s);
    a.reduce.w = ptrs.w, a.expand.w = static_cast<const T*>(ptrs.w) + p.s * padded(p.c);
    a.reduce.bias = reinterpret_cast<const float*>(static_cast<const T*>(ptrs.w) + weights(p));
    a.expand.bias = a.reduce.bias + p.s;
    a.reduce.act = p.act, a.reduce.act_param = static_cast<float>(p.act_param);
    a.expand.act = p.gate_act, a.expand.act_param = static_cast<float>(p.gate_param);
    return cuda::launch<excitation<T>>({(p.n + kImages - 1) / kImages, 1}, kThreads, static_cast<int>(shared_bytes(p)),
                                       stream, a);
  }
};

PYCNN_CUDA_KERNELS(excitation_layers, ExcitationParams, Excitation, "excitation_layers")

}  // namespace pycnn::cuda
