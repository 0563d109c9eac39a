// The machine the process runs on, as far as kernels and the planner care.
#pragma once
#include <cstdint>

namespace pycnn {

enum class Isa : int { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

struct Machine {
  Isa isa = Isa::kBaseline;       // best set the kernels may use (PYCNN_ISA lowers it)
  Isa hardware = Isa::kBaseline;  // best set the processor has
  bool whole_avx512 = false;      // AVX-512 at full rate: vectors of 64 bytes are not executed in halves, as on a Zen 4
  bool bf16_products = false;     // AVX-512 BF16: sums of two products of bf16 in one instruction
  int cores = 1;                  // usable: affinity and cgroup quota
  int64_t l2_bytes = 1 << 20;     // a core
  int64_t l3_bytes = 8 << 20;     // of the cores that share one
};

// Detected once. Throws std::runtime_error when PYCNN_ISA names a set this machine lacks.
const Machine& machine();

const char* isa_name(Isa isa);

// Why a kernel built for `needed` cannot run on `machine`, or null.
inline const char* why_not_isa(Isa needed, const Machine& machine) {
  if (machine.isa >= needed) return nullptr;
  return needed == Isa::kAvx512 ? "needs avx512" : "needs avx2";
}

}  // namespace pycnn
