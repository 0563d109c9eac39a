// Depthwise convolution: a thread makes one piece of channels of several neighbouring outputs of a line.
#pragma once
#include "base/cuda/pieces.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::cuda {

struct DepthwiseArgs {
  Pieces pieces;  // rows are groups of outputs
  Rows x, residual, y;
  const void* w;
  const float* bias;
  int h, width, oh, ow, kh, kw, sh, sw, ph, pw, dh, dw;
  int across;  // groups of outputs a line
  Act act;
  float act_param;
};

// First output of a group.
struct DepthwiseSpot {
  int64_t image;
  int oy, ox;
};

PYCNN_DEVICE DepthwiseSpot depthwise_spot(const DepthwiseArgs& a, int64_t group, int outputs) {
  const int at = static_cast<int>(group), line = at / a.across, image = line / a.oh;
  return {image, line - image * a.oh, (at - line * a.across) * outputs};
}

template <class T>
PYCNN_DEVICE void depthwise_weight(const DepthwiseArgs& a, const Piece& p, int tap, float (&w)[kPiece<T>]) {
  const int64_t row = static_cast<int64_t>(a.pieces.each_row) * kPiece<T>;
  load_piece(static_cast<const T*>(a.w) + tap * row + p.channel, kPiece<T>, true, w);
}

// What comes behind the sums of output `ox` of the spot's line; `to`: the piece of y, and of the residual, that it is.
template <class T>
PYCNN_DEVICE Piece depthwise_finish(const DepthwiseArgs& a, const Piece& p, const DepthwiseSpot& at, int ox,
                                    float (&v)[kPiece<T>]) {
  const Piece to{(at.image * a.oh + at.oy) * a.ow + ox, p.channel, p.count};
  if (a.bias)
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e)
      if (e < p.count) v[e] += load(a.bias + p.channel + e);
  if (a.residual.at) {
    float r[kPiece<T>];
    load_rows<T>(a.residual, to, r);
#pragma unroll
    for (int e = 0; e < kPiece<T>; ++e) v[e] += r[e];
  }
  activate(v, a.act, a.act_param);
  return to;
}

// A square window without dilation: each pixel of a line is read once and multiplied by the taps of all outputs it is in.
template <class T, int kSize, int kStride>
struct DepthwiseWindow {
  using Type = T;
  static constexpr int kOutputs = kStride == 1 ? 4 : 2;

  static bool takes(const Conv2dParams& p) {
    return p.kh == kSize && p.kw == kSize && p.sh == kStride && p.sw == kStride && p.dh == 1 && p.dw == 1;
  }

  PYCNN_DEVICE static void add(const DepthwiseArgs& a, const Piece& p, const DepthwiseSpot& at,
                               float (&sum)[kOutputs][kPiece<T>]) {
#pragma unroll 1
    for (int i = 0; i < kSize; ++i) {
      const int y = at.oy * kStride - a.ph + i;
      if (y >= 0 && y < a.h) line(a, p, at, i, y, sum);
    }
  }

  PYCNN_DEVICE static void line(const DepthwiseArgs& a, const Piece& p, const DepthwiseSpot& at, int i, int y,
                                float (&sum)[kOutputs][kPiece<T>]) {
    float w[kSize][kPiece<T>], v[kPiece<T>];
#pragma unroll
    for (int j = 0; j < kSize; ++j) depthwise_weight<T>(a, p, i * kSize + j, w[j]);
    const int64_t row = (at.image * a.h + y) * a.width;
#pragma unroll
    for (int column = 0; column < (kOutputs - 1) * kStride + kSize; ++column) {
      const int x = at.ox * kStride - a.pw + column;
      if (x < 0 || x >= a.width) continue;
      load_rows<T>(a.x, {row + x, p.channel, p.count}, v);
#pragma unroll
      for (int o = 0; o < kOutputs; ++o) {
        const int j = column - o * kStride;
        if (j < 0 || j >= kSize) continue;
#pragma unroll
        for (int e = 0; e < kPiece<T>; ++e) sum[o][e] += v[e] * w[j][e];
      }
    }
  }
};

// Any window, one output a thread.
template <class T>
struct DepthwiseAny {
  using Type = T;
  static constexpr int kOutputs = 1;

  static bool takes(const Conv2dParams&) { return true; }

  PYCNN_DEVICE static void add(const DepthwiseArgs& a, const Piece& p, const DepthwiseSpot& at,
                               float (&sum)[1][kPiece<T>]) {
    float w[kPiece<T>], v[kPiece<T>];
    for (int i = 0; i < a.kh; ++i) {
      const int y = at.oy * a.sh - a.ph + i * a.dh;
      if (y < 0 || y >= a.h) continue;
#pragma unroll 1  // unrolled, it spills on sm_90a
      for (int j = 0; j < a.kw; ++j) {
        const int x = at.ox * a.sw - a.pw + j * a.dw;
        if (x < 0 || x >= a.width) continue;
        load_rows<T>(a.x, {(at.image * a.h + y) * a.width + x, p.channel, p.count}, v);
        depthwise_weight<T>(a, p, i * a.kw + j, w);
#pragma unroll
        for (int e = 0; e < kPiece<T>; ++e) sum[0][e] += v[e] * w[e];
      }
    }
  }
};

// The problem, packed weights and arguments of a body's kernels.
template <class Body>
struct DepthwiseProblem {
  using Type = typename Body::Type;
  using T = Type;

  static int64_t across(const Conv2dParams& p) { return (p.ow + Body::kOutputs - 1) / Body::kOutputs; }

  static const char* why_not(const Conv2dParams& p) {
    constexpr int64_t kMost = 1 << 30;
    if (const char* reason = why_not_prologue(p)) return reason;
    if (p.groups != p.c || p.k != p.c) return "needs a group for each channel";
    if (!Body::takes(p)) return "is for another window or stride";
    if (p.x_nchw) return "reads NHWC";
    if (p.h * p.w > kMost || p.kh * p.kw > kMost) return "has more than 2^30 pixels or taps";
    return too_many_pieces<T>(p.n * p.oh * across(p), p.c);
  }

  static int64_t packed_bytes(const Conv2dParams& p) {
    return p.kh * p.kw * pieces_of<T>(p.c) * kPiece<T> * static_cast<int64_t>(sizeof(T));
  }

  // [tap][channel], zeros up to a whole piece.
  static void pack(const Conv2dParams& p, const float* w, void* packed) {
    const int64_t row = pieces_of<T>(p.c) * kPiece<T>, taps = p.kh * p.kw;
    for (int64_t tap = 0; tap < taps; ++tap)
      for (int64_t c = 0; c < row; ++c)
        static_cast<T*>(packed)[tap * row + c] = from_float<T>(c < p.c ? w[c * taps + tap] : 0.0f);
  }

  static const char* check(const Ptrs& ptrs) {
    return aligned16(ptrs.w) ? nullptr : "packed weights do not start on a multiple of 16 bytes";
  }

  static DepthwiseArgs arguments(const Conv2dParams& p, const Ptrs& ptrs) {
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    DepthwiseArgs a{};
    a.pieces = pieces<T>(p.n * p.oh * across(p), p.c);
    a.x = rows_at<T>(ptrs.x, p.ldx), a.residual = rows_at<T>(ptrs.residual, p.ldr), a.y = rows_at<T>(ptrs.y, p.ldy);
    a.w = ptrs.w, a.bias = ptrs.bias;
    a.h = narrow(p.h), a.width = narrow(p.w), a.oh = narrow(p.oh), a.ow = narrow(p.ow);
    a.kh = narrow(p.kh), a.kw = narrow(p.kw), a.sh = narrow(p.sh), a.sw = narrow(p.sw);
    a.ph = narrow(p.ph), a.pw = narrow(p.pw), a.dh = narrow(p.dh), a.dw = narrow(p.dw);
    a.across = narrow(across(p)), a.act = p.act, a.act_param = static_cast<float>(p.act_param);
    return a;
  }
};

}  // namespace pycnn::cuda
