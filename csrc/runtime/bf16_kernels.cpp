#include "runtime/bf16_kernels.h"

#if defined(__x86_64__)

// Of both instruction sets.
#define PYCNN_DECLARE(Params, kernel)       \
  namespace isa_avx512_bf16 {               \
  extern const Kernel<Params, Bf16> kernel; \
  }                                         \
  namespace isa_avx2_bf16 {                 \
  extern const Kernel<Params, Bf16> kernel; \
  }

namespace pycnn {
PYCNN_DECLARE(Conv2dParams, conv2d_scale)
PYCNN_DECLARE(Conv2dParams, conv2d_depthwise3x3)
PYCNN_DECLARE(Conv2dParams, conv2d_depthwise_window)
PYCNN_DECLARE(Conv2dParams, conv2d_grouped)
PYCNN_DECLARE(Conv2dParams, conv2d_depthwise)
PYCNN_DECLARE(Conv2dParams, conv2d_igemm)
PYCNN_DECLARE(Conv2dParams, conv2d_stem)
PYCNN_DECLARE(Conv2dParams, conv2d_patch)
PYCNN_DECLARE(Conv2dParams, conv2d_winograd4)
PYCNN_DECLARE(Conv2dParams, conv2d_winograd2)
PYCNN_DECLARE(Conv2dParams, conv2d_winograd5x5)
PYCNN_DECLARE(ConvPoolParams, conv2d_pool_winograd4)
PYCNN_DECLARE(ConvPoolParams, conv2d_pool_winograd2)
PYCNN_DECLARE(ConvTranspose2dParams, conv_transpose2d_phases)
PYCNN_DECLARE(LinearParams, linear_gemm)
PYCNN_DECLARE(Pool2dParams, pool2d_walk3x3)
PYCNN_DECLARE(Pool2dParams, pool2d_window)
PYCNN_DECLARE(GlobalPoolParams, global_pool_mean)
PYCNN_DECLARE(AddActParams, add_act_rows)
PYCNN_DECLARE(ArithParams, arith_rows)
PYCNN_DECLARE(ElementwiseParams, elementwise_rows)
PYCNN_DECLARE(ConcatParams, concat_copy)
PYCNN_DECLARE(UpsampleParams, upsample_rows)
PYCNN_DECLARE(UpsampleParams, upsample_planes)
PYCNN_DECLARE(LayerNormParams, layer_norm_rows)
PYCNN_DECLARE(GroupNormParams, group_norm_maps)
PYCNN_DECLARE(GroupNormParams, group_norm_planar)
PYCNN_DECLARE(LocalResponseNormParams, local_response_norm_rows)
PYCNN_DECLARE(SoftmaxParams, softmax_rows)
PYCNN_DECLARE(AttentionParams, attention_tiles)
PYCNN_DECLARE(MatMulParams, matmul_panels)
PYCNN_DECLARE(LayoutParams, layout_transpose)
PYCNN_DECLARE(RearrangeParams, rearrange_strided)
}  // namespace pycnn

#undef PYCNN_DECLARE
#endif

namespace pycnn::bf16 {

#if defined(__x86_64__)

template <class P, const Kernel<P, Bf16>&... kernels>
KernelList<P, Bf16> listed() {
  static const Kernel<P, Bf16>* const list[] = {&kernels...};
  return {list, sizeof...(kernels)};
}

KernelList<Conv2dParams, Bf16> conv2d_kernels() {
  return listed<Conv2dParams, isa_avx512_bf16::conv2d_scale, isa_avx512_bf16::conv2d_depthwise3x3,
                isa_avx512_bf16::conv2d_depthwise_window, isa_avx512_bf16::conv2d_depthwise,
                isa_avx512_bf16::conv2d_grouped, isa_avx512_bf16::conv2d_igemm, isa_avx512_bf16::conv2d_stem,
                isa_avx512_bf16::conv2d_patch, isa_avx512_bf16::conv2d_winograd4, isa_avx512_bf16::conv2d_winograd2,
                isa_avx512_bf16::conv2d_winograd5x5, isa_avx2_bf16::conv2d_scale, isa_avx2_bf16::conv2d_depthwise3x3,
                isa_avx2_bf16::conv2d_depthwise_window, isa_avx2_bf16::conv2d_depthwise, isa_avx2_bf16::conv2d_grouped,
                isa_avx2_bf16::conv2d_igemm, isa_avx2_bf16::conv2d_stem, isa_avx2_bf16::conv2d_patch,
                isa_avx2_bf16::conv2d_winograd4, isa_avx2_bf16::conv2d_winograd2, isa_avx2_bf16::conv2d_winograd5x5>();
}

KernelList<ConvPoolParams, Bf16> conv2d_pool_kernels() {
  return listed<ConvPoolParams, isa_avx512_bf16::conv2d_pool_winograd4, isa_avx512_bf16::conv2d_pool_winograd2,
                isa_avx2_bf16::conv2d_pool_winograd4, isa_avx2_bf16::conv2d_pool_winograd2>();
}

KernelList<ConvTranspose2dParams, Bf16> conv_transpose2d_kernels() {
  return listed<ConvTranspose2dParams, isa_avx512_bf16::conv_transpose2d_phases,
                isa_avx2_bf16::conv_transpose2d_phases>();
}

KernelList<LinearParams, Bf16> linear_kernels() {
  return listed<LinearParams, isa_avx512_bf16::linear_gemm, isa_avx2_bf16::linear_gemm>();
}

KernelList<Pool2dParams, Bf16> pool2d_kernels() {
  return listed<Pool2dParams, isa_avx512_bf16::pool2d_walk3x3, isa_avx512_bf16::pool2d_window,
                isa_avx2_bf16::pool2d_walk3x3, isa_avx2_bf16::pool2d_window>();
}

KernelList<GlobalPoolParams, Bf16> global_pool_kernels() {
  return listed<GlobalPoolParams, isa_avx512_bf16::global_pool_mean, isa_avx2_bf16::global_pool_mean>();
}

KernelList<AddActParams, Bf16> add_act_kernels() {
  return listed<AddActParams, isa_avx512_bf16::add_act_rows, isa_avx2_bf16::add_act_rows>();
}

KernelList<ArithParams, Bf16> arith_kernels() {
  return listed<ArithParams, isa_avx512_bf16::arith_rows, isa_avx2_bf16::arith_rows>();
}

KernelList<ElementwiseParams, Bf16> elementwise_kernels() {
  return listed<ElementwiseParams, isa_avx512_bf16::elementwise_rows, isa_avx2_bf16::elementwise_rows>();
}

KernelList<ConcatParams, Bf16> concat_kernels() {
  return listed<ConcatParams, isa_avx512_bf16::concat_copy, isa_avx2_bf16::concat_copy>();
}

KernelList<UpsampleParams, Bf16> upsample_kernels() {
  return listed<UpsampleParams, isa_avx512_bf16::upsample_rows, isa_avx512_bf16::upsample_planes,
                isa_avx2_bf16::upsample_rows, isa_avx2_bf16::upsample_planes>();
}

KernelList<LayerNormParams, Bf16> layer_norm_kernels() {
  return listed<LayerNormParams, isa_avx512_bf16::layer_norm_rows, isa_avx2_bf16::layer_norm_rows>();
}

KernelList<GroupNormParams, Bf16> group_norm_kernels() {
  return listed<GroupNormParams, isa_avx512_bf16::group_norm_maps, isa_avx512_bf16::group_norm_planar,
                isa_avx2_bf16::group_norm_maps, isa_avx2_bf16::group_norm_planar>();
}

KernelList<LocalResponseNormParams, Bf16> local_response_norm_kernels() {
  return listed<LocalResponseNormParams, isa_avx512_bf16::local_response_norm_rows,
                isa_avx2_bf16::local_response_norm_rows>();
}

KernelList<SoftmaxParams, Bf16> softmax_kernels() {
  return listed<SoftmaxParams, isa_avx512_bf16::softmax_rows, isa_avx2_bf16::softmax_rows>();
}

KernelList<LayoutParams, Bf16> layout_kernels() {
  return listed<LayoutParams, isa_avx512_bf16::layout_transpose, isa_avx2_bf16::layout_transpose>();
}

KernelList<RearrangeParams, Bf16> rearrange_kernels() {
  return listed<RearrangeParams, isa_avx512_bf16::rearrange_strided, isa_avx2_bf16::rearrange_strided>();
}

KernelList<AttentionParams, Bf16> attention_kernels() {
  return listed<AttentionParams, isa_avx512_bf16::attention_tiles, isa_avx2_bf16::attention_tiles>();
}

KernelList<MatMulParams, Bf16> matmul_kernels() {
  return listed<MatMulParams, isa_avx512_bf16::matmul_panels, isa_avx2_bf16::matmul_panels>();
}

KernelList<TimestepEmbeddingParams, Bf16> timestep_embedding_kernels() {
  return listed<TimestepEmbeddingParams, timestep_embedding_reference_bf16>();
}
#else
KernelList<Conv2dParams, Bf16> conv2d_kernels() { return {nullptr, 0}; }
KernelList<ConvPoolParams, Bf16> conv2d_pool_kernels() { return {nullptr, 0}; }
KernelList<ConvTranspose2dParams, Bf16> conv_transpose2d_kernels() { return {nullptr, 0}; }
KernelList<LinearParams, Bf16> linear_kernels() { return {nullptr, 0}; }
KernelList<Pool2dParams, Bf16> pool2d_kernels() { return {nullptr, 0}; }
KernelList<GlobalPoolParams, Bf16> global_pool_kernels() { return {nullptr, 0}; }
KernelList<AddActParams, Bf16> add_act_kernels() { return {nullptr, 0}; }
KernelList<ArithParams, Bf16> arith_kernels() { return {nullptr, 0}; }
KernelList<ElementwiseParams, Bf16> elementwise_kernels() { return {nullptr, 0}; }
KernelList<ConcatParams, Bf16> concat_kernels() { return {nullptr, 0}; }
KernelList<UpsampleParams, Bf16> upsample_kernels() { return {nullptr, 0}; }
KernelList<LayerNormParams, Bf16> layer_norm_kernels() { return {nullptr, 0}; }
KernelList<GroupNormParams, Bf16> group_norm_kernels() { return {nullptr, 0}; }
KernelList<LocalResponseNormParams, Bf16> local_response_norm_kernels() { return {nullptr, 0}; }
KernelList<SoftmaxParams, Bf16> softmax_kernels() { return {nullptr, 0}; }
KernelList<LayoutParams, Bf16> layout_kernels() { return {nullptr, 0}; }
KernelList<RearrangeParams, Bf16> rearrange_kernels() { return {nullptr, 0}; }
KernelList<AttentionParams, Bf16> attention_kernels() { return {nullptr, 0}; }
KernelList<MatMulParams, Bf16> matmul_kernels() { return {nullptr, 0}; }
KernelList<TimestepEmbeddingParams, Bf16> timestep_embedding_kernels() { return {nullptr, 0}; }
#endif

}  // namespace pycnn::bf16
