// Starting kernels, for nvcc: launch() of base/cuda/device.h and launch_cluster() of base/cuda/sm90.h.
#pragma once
#include <cuda_runtime.h>

#include "base/cuda/switches.h"

namespace pycnn::cuda {

// Of the current device; -1: an error.
inline int device_attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&value, which, device) != cudaSuccess) return -1;
  return value;
}
inline int multiprocessors() { return device_attribute(cudaDevAttrMultiProcessorCount); }

// Elsewhere kernels of sm_90's words have empty bodies, and none waits for those before it.
inline const char* sm90_missing() {
#if defined(PYCNN_SM90A)
  const bool there = device_attribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
                     device_attribute(cudaDevAttrComputeCapabilityMinor) == 0;
  return there ? nullptr : "needs a GPU of compute capability 9.0";
#else
  return "needs a build with 90a among PYCNN_CUDA_ARCHS";
#endif
}

// In clusters of `cluster` blocks along x, which grid.x is a multiple of. Null, or what CUDA says about the launch. More
// shared memory than 48 KiB is asked for at each launch: the attribute is kept per device by the runtime, and the call
// costs less than remembering which devices have it.
template <auto kKernel, class Args>
const char* launch_cluster(Grid grid, int cluster, int threads, int shared_bytes, Stream stream, const Args& args) {
  if (grid.x > 0x7fffffff || grid.y > 0xffff) return "the launch needs more blocks than a CUDA grid has";
  cudaError_t status = cudaSuccess;
  if (shared_bytes > 48 * 1024)
    status = cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (status != cudaSuccess) return cudaGetErrorString(status);
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attributes;
  if (cluster > 1) {
    auto& dimension = attributes[config.numAttrs++];
    dimension.id = cudaLaunchAttributeClusterDimension;
    dimension.val.clusterDim.x = static_cast<unsigned>(cluster);
    dimension.val.clusterDim.y = dimension.val.clusterDim.z = 1;
  }
  if (starts_early() && sm90_missing() == nullptr) {
    auto& early = attributes[config.numAttrs++];
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
  }
  status = cudaLaunchKernelEx(&config, kKernel, args);
  return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

template <auto kKernel, class Args>
const char* launch(Grid grid, int threads, int shared_bytes, Stream stream, const Args& args) {
  return launch_cluster<kKernel>(grid, 1, threads, shared_bytes, stream, args);
}

}  // namespace pycnn::cuda
