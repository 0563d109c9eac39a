// Large pages for large memory: fewer faults when it is first touched, fewer misses of the TLB afterwards (in a virtual
// machine each costs a walk of two tables).
#pragma once
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pycnn {

inline constexpr uintptr_t kLargePage = 2 << 20;

// Asks for large pages inside [begin, begin + bytes), before its first use; a wish, which the system may not grant.
inline void prefer_large_pages(uintptr_t begin, uintptr_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const uintptr_t first = (begin + kLargePage - 1) / kLargePage * kLargePage;
  const uintptr_t last = (begin + bytes) / kLargePage * kLargePage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace pycnn
