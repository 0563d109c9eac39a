#include "base/cuda/reduce.h"
#include "ops/conv2d/cuda_depthwise.h"
#include "ops/conv2d/cuda_sums.h"

namespace pycnn::cuda {
constexpr int kThreads = 256;

struct DepthwiseSumsArgs {
  DepthwiseArgs conv;
  float* sums;
  int groups, groups_a_part;  // of outputs, of an image
  int across;                 // pieces a block takes of a row, a power of two; the other threads share the groups
  int chunks, parts;          // blocks an image: of channels, of groups
};

template <class Body>
PYCNN_GLOBAL(kThreads)
depthwise_sums(DepthwiseSumsArgs s) {
  using T = typename Body::Type;
  const DepthwiseArgs& a = s.conv;
  const int chunk = static_cast<int>(block_x() % s.chunks), row = static_cast<int>(block_x() / s.chunks);
  const int image = row / s.parts, part = row % s.parts;
  const int channel = (chunk * s.across + thread() % s.across) * kPiece<T>;
  const int left = a.pieces.c - channel, count = left < kPiece<T> ? left : kPiece<T>;
  const int begin = part * s.groups_a_part;
  const int end = begin + s.groups_a_part < s.groups ? begin + s.groups_a_part : s.groups;
  float total[kPiece<T>] = {};
  wait_for_earlier();
  if (count > 0)
#pragma unroll 1
    for (int group = begin + thread() / s.across; group < end; group += kThreads / s.across) {
      const Piece p{static_cast<int64_t>(image) * s.groups + group, channel, count};
      const DepthwiseSpot at = depthwise_spot(a, p.row, Body::kOutputs);
      float sum[Body::kOutputs][kPiece<T>] = {};
      Body::add(a, p, at, sum);
#pragma unroll
      for (int o = 0; o < Body::kOutputs; ++o) {
        if (at.ox + o >= a.ow) continue;
        store_rows<T>(a.y, depthwise_finish<T>(a, p, at, at.ox + o, sum[o]), sum[o]);
#pragma unroll
        for (int e = 0; e < kPiece<T>; ++e) total[e] += sum[o][e];
      }
    }
  sum_of_parts<kThreads>(total, s.across);
  if (thread() >= s.across) return;
  float* to = s.sums + static_cast<int64_t>(row) * a.pieces.c + channel;
#pragma unroll
  for (int e = 0; e < kPiece<T>; ++e)
    if (e < count) store(to + e, total[e]);
}

// Pieces of a row that a block takes: the width from 4 to a warp that leaves fewest threads without one.
inline int64_t sums_across(int64_t pieces) {
  const auto taken = [pieces](int64_t width) { return (pieces + width - 1) / width * width; };
  int64_t across = kLanes;
  for (int64_t width = kLanes / 2; width >= 4; width /= 2)
    if (taken(width) < taken(across)) across = width;
  return across;
}

template <class Body>
struct DepthwiseSums {
  using Problem = DepthwiseProblem<Body>;
  using Type = typename Body::Type;

  static const char* why_not(const ConvSumsParams& p) {
    if (const char* reason = Problem::why_not(p.conv)) return reason;
    if (p.parts < 1 || p.conv.n * p.parts * pieces_of<Type>(p.conv.c) > 1 << 30) return "has no parts, or too many";
    return p.sums * static_cast<int64_t>(sizeof(Type)) % 16 == 0 ? nullptr : "needs sums on a multiple of 16 bytes";
  }

  static int64_t packed_bytes(const ConvSumsParams& p) { return Problem::packed_bytes(p.conv); }
  static void pack(const ConvSumsParams& p, const float* w, void* packed) { Problem::pack(p.conv, w, packed); }

  static const char* launch(const ConvSumsParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Problem::check(ptrs)) return reason;
    if (p.conv.pixels() * p.conv.c == 0) return nullptr;
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    const int64_t pieces = pieces_of<Type>(p.conv.c), across = sums_across(pieces);
    const int64_t chunks = (pieces + across - 1) / across, groups = p.conv.oh * Problem::across(p.conv);
    DepthwiseSumsArgs a{};
    a.conv = Problem::arguments(p.conv, ptrs);
    a.sums = reinterpret_cast<float*>(static_cast<Type*>(ptrs.y) + p.sums);
    a.groups = narrow(groups), a.groups_a_part = narrow((groups + p.parts - 1) / p.parts);
    a.across = narrow(across), a.chunks = narrow(chunks), a.parts = narrow(p.parts);
    const int shared_bytes = kThreads * kPiece<Type> * static_cast<int>(sizeof(float));
    return cuda::launch<depthwise_sums<Body>>({p.conv.n * p.parts * chunks, 1}, kThreads, shared_bytes, stream, a);
  }
};

template <class T>
using Sums3x3 = DepthwiseSums<DepthwiseWindow<T, 3, 1>>;
template <class T>
using Sums3x3s2 = DepthwiseSums<DepthwiseWindow<T, 3, 2>>;
template <class T>
using Sums5x5 = DepthwiseSums<DepthwiseWindow<T, 5, 1>>;
template <class T>
using Sums5x5s2 = DepthwiseSums<DepthwiseWindow<T, 5, 2>>;
template <class T>
using SumsOther = DepthwiseSums<DepthwiseAny<T>>;

PYCNN_CUDA_KERNELS(conv2d_sums3x3, ConvSumsParams, Sums3x3, "conv2d_sums3x3")
PYCNN_CUDA_KERNELS(conv2d_sums3x3s2, ConvSumsParams, Sums3x3s2, "conv2d_sums3x3s2")
PYCNN_CUDA_KERNELS(conv2d_sums5x5, ConvSumsParams, Sums5x5, "conv2d_sums5x5")
PYCNN_CUDA_KERNELS(conv2d_sums5x5s2, ConvSumsParams, Sums5x5s2, "conv2d_sums5x5s2")
PYCNN_CUDA_KERNELS(conv2d_sums, ConvSumsParams, SumsOther, "conv2d_sums")

}  // namespace pycnn::cuda
