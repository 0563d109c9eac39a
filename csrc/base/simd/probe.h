// What a core reaches with one instruction set: the rate of products that a dense kernel is measured against, and the
// bytes a second of reading and copying.
#pragma once
#include <cstdint>

#define PYCNN_DECLARE(isa)               \
  namespace isa {                        \
  int64_t product_probe(int64_t rounds); \
  }
#define PYCNN_DECLARE_MEMORY(isa)                                           \
  namespace isa {                                                           \
  void read_probe(const float* x, int64_t count, int64_t passes);           \
  void copy_probe(const float* x, float* y, int64_t count, int64_t passes); \
  }
namespace pycnn {
PYCNN_DECLARE(isa_baseline)
PYCNN_DECLARE(isa_avx2)
PYCNN_DECLARE(isa_avx512)
PYCNN_DECLARE(isa_avx2_bf16)
PYCNN_DECLARE(isa_avx512_bf16)
PYCNN_DECLARE_MEMORY(isa_baseline)
PYCNN_DECLARE_MEMORY(isa_avx2)
PYCNN_DECLARE_MEMORY(isa_avx512)
}  // namespace pycnn
#undef PYCNN_DECLARE
#undef PYCNN_DECLARE_MEMORY
