// Operands of a plan's steps.
#pragma once
#include <cstdint>

namespace pycnn {

// Where a pointer of a step comes from at run time.
struct Slot {
  enum Kind { kNone, kArena, kConst, kInput, kOutput };
  Kind kind = kNone;
  int64_t value = 0;   // kArena: byte offset; kConst: address; kInput, kOutput: index
  int64_t offset = 0;  // bytes, for kInput and kOutput
  // Within a section, bytes from one image to the next, or from one worker's own memory to the next one's.
  int64_t image = 0, worker = 0;
};

}  // namespace pycnn
