// The multiply rate of a core with one instruction set: what a dense kernel is measured against.
#pragma once
#include <cstdint>

#define PYCNN_DECLARE(isa)           \
  namespace isa {                    \
  int64_t fma_probe(int64_t rounds); \
  }
namespace pycnn {
PYCNN_DECLARE(isa_baseline)
PYCNN_DECLARE(isa_avx2)
PYCNN_DECLARE(isa_avx512)
}  // namespace pycnn
#undef PYCNN_DECLARE
