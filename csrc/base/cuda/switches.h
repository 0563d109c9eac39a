// What is off until a GPU's record says that it agrees: "1" in the environment turns it on.
#pragma once
#include <cstdlib>
#include <cstring>

namespace pycnn::cuda {

inline bool switched_on(const char* name) {
  const char* value = std::getenv(name);
  return value && std::strcmp(value, "1") == 0;
}

// Kernels of wgmma may be chosen; looked at when they are.
inline bool wgmma_is_on() { return switched_on("PYCNN_CUDA_WGMMA"); }

// Programmatic dependent launch: a kernel may start before those ahead of it in the stream are done; looked at for each.
inline bool starts_early() { return switched_on("PYCNN_CUDA_PDL"); }

}  // namespace pycnn::cuda
