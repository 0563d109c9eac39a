// The CUDA kernels of conv2d: by window, for a group a channel; by arithmetic, for products on tensor cores.
#pragma once
#include "base/cuda/kernel.h"
#include "ops/conv2d/conv2d.h"

namespace pycnn::cuda {

KernelList<Conv2dParams> conv2d_depthwise3x3();
KernelList<Conv2dParams> conv2d_depthwise3x3s2();
KernelList<Conv2dParams> conv2d_depthwise5x5();
KernelList<Conv2dParams> conv2d_depthwise5x5s2();
KernelList<Conv2dParams> conv2d_depthwise7x7();
KernelList<Conv2dParams> conv2d_depthwise7x7s2();
KernelList<Conv2dParams> conv2d_depthwise();

KernelList<Conv2dParams> conv2d_bf16();
KernelList<Conv2dParams> conv2d_f16();
KernelList<Conv2dParams> conv2d_tf32();
KernelList<Conv2dParams> conv2d_f32();

// With a norm or a gate of x on its way.
KernelList<Conv2dParams> conv2d_prologue();

// On tensor cores of sm_90.
KernelList<Conv2dParams> conv2d_wgmma_bf16();
KernelList<Conv2dParams> conv2d_wgmma_f16();
KernelList<Conv2dParams> conv2d_wgmma_norm_bf16();
KernelList<Conv2dParams> conv2d_wgmma_norm_f16();
KernelList<Conv2dParams> conv2d_wgmma_gate_bf16();
KernelList<Conv2dParams> conv2d_wgmma_gate_f16();

}  // namespace pycnn::cuda
