#include "ops/conv2d/cuda.h"
#include "ops/conv2d/cuda_depthwise.h"

namespace pycnn::cuda {

template <class Body>
struct DepthwisePiece {
  using Type = typename Body::Type;
  using T = Type;
  using Args = DepthwiseArgs;

  PYCNN_DEVICE static void make(const Args& a, const Piece& p) {
    const DepthwiseSpot at = depthwise_spot(a, p.row, Body::kOutputs);
    float sum[Body::kOutputs][kPiece<T>] = {};
    Body::add(a, p, at, sum);
#pragma unroll
    for (int o = 0; o < Body::kOutputs; ++o)
      if (at.ox + o < a.ow) store_rows<T>(a.y, depthwise_finish<T>(a, p, at, at.ox + o, sum[o]), sum[o]);
  }
};

template <class Body>
struct Depthwise : DepthwiseProblem<Body> {
  using Problem = DepthwiseProblem<Body>;

  static const char* launch(const Conv2dParams& p, const Ptrs& ptrs, Stream stream) {
    if (const char* reason = Problem::check(ptrs)) return reason;
    return launch_pieces<DepthwisePiece<Body>>(Problem::arguments(p, ptrs), stream);
  }
};

template <class T>
using Depthwise3x3 = Depthwise<DepthwiseWindow<T, 3, 1>>;
template <class T>
using Depthwise3x3s2 = Depthwise<DepthwiseWindow<T, 3, 2>>;
template <class T>
using Depthwise5x5 = Depthwise<DepthwiseWindow<T, 5, 1>>;
template <class T>
using Depthwise5x5s2 = Depthwise<DepthwiseWindow<T, 5, 2>>;
template <class T>
using Depthwise7x7 = Depthwise<DepthwiseWindow<T, 7, 1>>;
template <class T>
using Depthwise7x7s2 = Depthwise<DepthwiseWindow<T, 7, 2>>;
template <class T>
using DepthwiseOther = Depthwise<DepthwiseAny<T>>;

PYCNN_CUDA_KERNELS(conv2d_depthwise3x3, Conv2dParams, Depthwise3x3, "conv2d_depthwise3x3")
PYCNN_CUDA_KERNELS(conv2d_depthwise3x3s2, Conv2dParams, Depthwise3x3s2, "conv2d_depthwise3x3s2")
PYCNN_CUDA_KERNELS(conv2d_depthwise5x5, Conv2dParams, Depthwise5x5, "conv2d_depthwise5x5")
PYCNN_CUDA_KERNELS(conv2d_depthwise5x5s2, Conv2dParams, Depthwise5x5s2, "conv2d_depthwise5x5s2")
PYCNN_CUDA_KERNELS(conv2d_depthwise7x7, Conv2dParams, Depthwise7x7, "conv2d_depthwise7x7")
PYCNN_CUDA_KERNELS(conv2d_depthwise7x7s2, Conv2dParams, Depthwise7x7s2, "conv2d_depthwise7x7s2")
PYCNN_CUDA_KERNELS(conv2d_depthwise, Conv2dParams, DepthwiseOther, "conv2d_depthwise")

}  // namespace pycnn::cuda
