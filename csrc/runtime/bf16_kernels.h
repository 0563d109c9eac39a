// The kernels of bf16: sources of the fp32 ones, built again (PYCNN_BF16). No SIMD kernel
// takes anything without AVX2, and all lists are empty but on x86.
#pragma once
#include "base/dtype.h"
#include "ops/add_act/add_act.h"
#include "ops/arith/arith.h"
#include "ops/attention/attention.h"
#include "ops/concat/concat.h"
#include "ops/conv2d/pool.h"
#include "ops/conv_transpose2d/conv_transpose2d.h"
#include "ops/elementwise/elementwise.h"
#include "ops/global_pool/global_pool.h"
#include "ops/group_norm/group_norm.h"
#include "ops/layer_norm/layer_norm.h"
#include "ops/layout/layout.h"
#include "ops/linear/linear.h"
#include "ops/local_response_norm/local_response_norm.h"
#include "ops/matmul/matmul.h"
#include "ops/pool2d/pool2d.h"
#include "ops/rearrange/rearrange.h"
#include "ops/softmax/softmax.h"
#include "ops/timestep_embedding/timestep_embedding.h"
#include "ops/upsample/upsample.h"

namespace pycnn::bf16 {

KernelList<Conv2dParams, Bf16> conv2d_kernels();
KernelList<ConvPoolParams, Bf16> conv2d_pool_kernels();
KernelList<ConvTranspose2dParams, Bf16> conv_transpose2d_kernels();
KernelList<LinearParams, Bf16> linear_kernels();
KernelList<Pool2dParams, Bf16> pool2d_kernels();
KernelList<GlobalPoolParams, Bf16> global_pool_kernels();
KernelList<AddActParams, Bf16> add_act_kernels();
KernelList<ArithParams, Bf16> arith_kernels();
KernelList<ElementwiseParams, Bf16> elementwise_kernels();
KernelList<ConcatParams, Bf16> concat_kernels();
KernelList<UpsampleParams, Bf16> upsample_kernels();
KernelList<LayerNormParams, Bf16> layer_norm_kernels();
KernelList<GroupNormParams, Bf16> group_norm_kernels();
KernelList<LocalResponseNormParams, Bf16> local_response_norm_kernels();
KernelList<SoftmaxParams, Bf16> softmax_kernels();
KernelList<LayoutParams, Bf16> layout_kernels();
KernelList<RearrangeParams, Bf16> rearrange_kernels();
KernelList<AttentionParams, Bf16> attention_kernels();
KernelList<MatMulParams, Bf16> matmul_kernels();
KernelList<TimestepEmbeddingParams, Bf16> timestep_embedding_kernels();

}  // namespace pycnn::bf16
