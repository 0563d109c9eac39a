#include "ops/conv2d/cuda_depthwise.h"
#include "ops/conv2d/cuda_layer_norm.h"

namespace pycnn::cuda {
constexpr int kThreads = 256;
constexpr int kMost = 4;   // outputs of a thread at most: what one 16-byte access of shared memory moves
constexpr int kTeam = 16;  // threads of a group that add up first

struct DepthwiseNormArgs {
  DepthwiseArgs conv;
  const float *w, *b;
  float eps;
  int groups;  // of outputs, all
  int team;    // pieces of a row: the threads that make one group
};

// The sums of the outputs' values over a team, known to all of it: in an order that depends on the channels alone.
// partial: kThreads of shared memory, and as many again, written here alone.
template <int kOutputs>
PYCNN_DEVICE void team_sums(const DepthwiseNormArgs& a, bool there, Vec16* partial, float (&sum)[kOutputs]) {
  const int first = thread() / a.team * a.team, lane = thread() - first, adders = a.team < kTeam ? a.team : kTeam;
  Vec16 v{};
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) v.word[o] = float_bits(sum[o]);
  shared_store16(partial + thread(), v);
  const auto add = [&](const Vec16* from, int begin, int step, int end) {
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) sum[o] = 0;
#pragma unroll 1
    for (int i = begin; i < end; i += step) {
      const Vec16 each = shared_load16(from + first + i);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) sum[o] += bits_float(each.word[o]);
    }
  };
  sync();
  if (there && lane < adders) {
    add(partial, lane, adders, a.team);
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) v.word[o] = float_bits(sum[o]);
    shared_store16(partial + kThreads + thread(), v);
  }
  sync();
  if (there) add(partial + kThreads, 0, 1, adders);
}

template <class Body>
PYCNN_GLOBAL(kThreads)
depthwise_layer_norm(DepthwiseNormArgs n) {
  using T = typename Body::Type;
  constexpr int kElements = kPiece<T>, kOutputs = Body::kOutputs;
  static_assert(kOutputs <= kMost);
  const DepthwiseArgs& a = n.conv;
  const int teams = kThreads / n.team, team = thread() / n.team;
  const int64_t group = block_x() * teams + team;
  const int channel = thread() % n.team * kElements, left = a.pieces.c - channel;
  const Piece p{group, channel, left < kElements ? left : kElements};
  const bool there = team < teams && group < n.groups;  // and so is its whole team
  const DepthwiseSpot at = depthwise_spot(a, there ? group : 0, kOutputs);
  float v[kOutputs][kElements] = {}, sum[kOutputs] = {};
  wait_for_earlier();
  if (there) {
    Body::add(a, p, at, v);
#pragma unroll
    for (int o = 0; o < kOutputs; ++o) {
      if (at.ox + o >= a.ow) continue;
      depthwise_finish<T>(a, p, at, at.ox + o, v[o]);
#pragma unroll
      for (int e = 0; e < kElements; ++e) sum[o] += e < p.count ? v[o][e] : 0.0f;
    }
  }
  auto* partial = reinterpret_cast<Vec16*>(shared());
  team_sums(n, there, partial, sum);
  const float share = 1 / static_cast<float>(a.pieces.c);
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
    const float mean = sum[o] * share;
    sum[o] = 0;
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
      v[o][e] -= mean;
      sum[o] += e < p.count ? v[o][e] * v[o][e] : 0.0f;
    }
  }
  team_sums(n, there, partial + 2 * kThreads, sum);
  if (!there) return;
  float w[kElements], b[kElements];
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    w[e] = e < p.count ? load(n.w + channel + e) : 0.0f;
    b[e] = e < p.count ? load(n.b + channel + e) : 0.0f;
  }
#pragma unroll
  for (int o = 0; o < kOutputs; ++o) {
    if (at.ox + o >= a.ow) continue;
    const float scale = 1 / sqrtf(sum[o] * share + n.eps);
#pragma unroll
    for (int e = 0; e < kElements; ++e) v[o][e] = v[o][e] * scale * w[e] + b[e];
    store_rows<T>(a.y, {(at.image * a.oh + at.oy) * a.ow + at.ox + o, channel, p.count}, v[o]);
  }
}

template <class Body>
struct DepthwiseLayerNorm {
  using Problem = DepthwiseProblem<Body>;
  using Type = typename Body::Type;

  static const char* why_not(const ConvLayerNormParams& p) {
    if (const char* reason = Problem::why_not(p.conv)) return reason;
    return pieces_of<Type>(p.conv.c) > kThreads ? "has more channels than 256 pieces of 16 bytes" : nullptr;
  }

  // Whole pieces of weights are multiples of 16 bytes: what follows is aligned.
  static int64_t packed_bytes(const ConvLayerNormParams& p) {
    return Problem::packed_bytes(p.conv) + 2 * p.conv.c * static_cast<int64_t>(sizeof(float));
  }

  static void pack(const ConvLayerNormParams& p, const float* w, void* packed) {
    Problem::pack(p.conv, w, packed);
    auto* to = reinterpret_cast<float*>(static_cast<char*>(packed) + Problem::packed_bytes(p.conv));
    for (int64_t i = 0; i < 2 * p.conv.c; ++i) to[i] = w[p.conv.c * p.conv.kh * p.conv.kw + i];
  }

  static const char* launch(const ConvLayerNormParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Problem::check(ptrs)) return reason;
    if (p.conv.pixels() * p.conv.c == 0) return nullptr;
    DepthwiseNormArgs a{};
    a.conv = Problem::arguments(p.conv, ptrs);
    a.w = reinterpret_cast<const float*>(static_cast<const char*>(ptrs.w) + Problem::packed_bytes(p.conv));
    a.b = a.w + p.conv.c, a.eps = static_cast<float>(p.eps);
    a.groups = static_cast<int>(p.conv.n * p.conv.oh * Problem::across(p.conv));
    a.team = static_cast<int>(pieces_of<Type>(p.conv.c));
    const int64_t teams = kThreads / a.team;
    const int shared_bytes = 4 * kThreads * static_cast<int>(sizeof(Vec16));
    return cuda::launch<depthwise_layer_norm<Body>>({(a.groups + teams - 1) / teams, 1}, kThreads, shared_bytes, stream,
                                                    a);
  }
};

template <class T>
using LayerNorm7x7 = DepthwiseLayerNorm<DepthwiseWindow<T, 7, 1>>;
template <class T>
using LayerNormOther = DepthwiseLayerNorm<DepthwiseAny<T>>;

PYCNN_CUDA_KERNELS(conv2d_layer_norm7x7, ConvLayerNormParams, LayerNorm7x7, "conv2d_layer_norm7x7")
PYCNN_CUDA_KERNELS(conv2d_layer_norm, ConvLayerNormParams, LayerNormOther, "conv2d_layer_norm")

}  // namespace pycnn::cuda
