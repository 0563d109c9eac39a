#include "base/cuda/conv_launch.h"
#include "base/cuda/matmul_tile.h"
#include "ops/matmul/cuda.h"

namespace pycnn::cuda {

template <class Tile>
struct MatMul : NoWeights<MatMulParams> {
  using T = typename Storage<Tile::kMath>::Type;
  static constexpr int64_t kElements = kPiece<T>;

  static int64_t m_tiles(const MatMulParams& p) { return (p.m + Tile::kBlockM - 1) / Tile::kBlockM; }
  static int64_t n_tiles(const MatMulParams& p) { return (p.k + Tile::kBlockN - 1) / Tile::kBlockN; }
  static int64_t tiles(const MatMulParams& p) { return (p.c + Tile::kTileElements - 1) / Tile::kTileElements; }

  static const char* why_not(const MatMulParams& p) {
    constexpr int64_t kMost = 1 << 30;
    for (const int64_t size : {p.m, p.c, p.k, p.s[0], p.s[1], p.s[2], p.s[3]})
      if (size > kMost) return "has more than 2^30 rows, columns or entries";
    if (p.s[0] * p.s[1] > kMost || p.s[0] * p.s[1] * p.s[2] > kMost || matmul_batch(p) > kMost)
      return "has more than 2^30 entries";
    if (m_tiles(p) * n_tiles(p) > kMost || matmul_batch(p) * m_tiles(p) * n_tiles(p) > kMost)
      return "has more than 2^30 tiles";
    return nullptr;
  }

  static Cost cost(const MatMulParams& p) {
    const double blocks = static_cast<double>(matmul_batch(p) * m_tiles(p) * n_tiles(p));
    return tile_cost<Tile>(blocks, static_cast<double>(tiles(p)), false);
  }

  static bool whole(const void* at, int64_t other, const int64_t (&batch)[kMatMulAxes]) {
    bool found = aligned16(at) && other % kElements == 0;
    for (const int64_t apart : batch) found = found && apart % kElements == 0;
    return found;
  }

  static MatMulSide side(const void* at, int64_t row, int64_t column, int64_t rows,
                         const int64_t (&batch)[kMatMulAxes]) {
    const Fetch fetch = column == 1 && whole(at, row, batch)   ? Fetch::kAlong
                        : row == 1 && whole(at, column, batch) ? Fetch::kAcross
                                                               : Fetch::kElements;
    return {at, row, column, static_cast<int>(rows), fetch};
  }

  static MatMulPlane plane(const void* at, int64_t row, int64_t column, const int64_t (&batch)[kMatMulAxes]) {
    return {at, row, column, column == 1 && whole(at, row, batch)};
  }

  static const char* launch(const MatMulParams& p, const Ptrs& ptrs, Stream stream) {
    const auto narrow = [](int64_t v) { return static_cast<int>(v); };
    const int64_t blocks = matmul_batch(p) * m_tiles(p) * n_tiles(p);
    if (blocks == 0) return nullptr;
    MatMulArgs a{};
    a.a = side(ptrs.x, p.am, p.ac, p.m, p.a);
    a.b = side(ptrs.residual, p.bk, p.bc, p.k, p.b);
    a.r = plane(ptrs.w, p.rm, p.rk, p.r), a.y = plane(ptrs.y, p.ym, p.yk, p.y);
    a.c = narrow(p.c), a.tiles = narrow(tiles(p));
    a.m_tiles = narrow(m_tiles(p)), a.n_tiles = narrow(n_tiles(p));
    a.scale = static_cast<float>(p.scale);
    for (int axis = 0; axis < kMatMulAxes; ++axis) {
      a.size[axis] = narrow(p.s[axis]);
      a.apart[0][axis] = p.a[axis], a.apart[1][axis] = p.b[axis];
      a.apart[2][axis] = p.r[axis], a.apart[3][axis] = p.y[axis];
    }
    return cuda::launch<matmul_tile<Tile>>({blocks, 1}, Tile::kThreads, Tile::kShared, stream, a);
  }
};

template <Math kMath, int kBlockM, int kWarpM>
constexpr Kernel<MatMulParams> matmul_kernel(const char* name) {
  using K = MatMul<ConvTile<kMath, Gather::kPieces, kBlockM, 64, kWarpM, 32, 4>>;
  return {name, kDtypeOf<typename K::T>, K::why_not, K::packed_bytes, K::pack, K::launch, false, false, K::cost};
}

// Products of fp32 by three of TF32: torch's own are not rounded to it either unless one asks for that.
KernelList<MatMulParams> matmul_tiles() {
  static constexpr Kernel<MatMulParams> kernels[] = {
      matmul_kernel<Math::kBf16, 64, 32>("matmul_tile64x64_bf16_sm80"),
      matmul_kernel<Math::kBf16, 128, 64>("matmul_tile128x64_bf16_sm80"),
      matmul_kernel<Math::kF16, 64, 32>("matmul_tile64x64_f16_sm80"),
      matmul_kernel<Math::kF16, 128, 64>("matmul_tile128x64_f16_sm80"),
      matmul_kernel<Math::kF32, 64, 32>("matmul_tile64x64_f32_sm80"),
      matmul_kernel<Math::kF32, 128, 64>("matmul_tile128x64_f32_sm80"),
  };
  static constexpr const Kernel<MatMulParams>* list[] = {&kernels[0], &kernels[1], &kernels[2],
                                                         &kernels[3], &kernels[4], &kernels[5]};
  return {list, sizeof list / sizeof *list};
}

}  // namespace pycnn::cuda
