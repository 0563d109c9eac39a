// What a tensor map of TMA says, with the limits that cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col put on it.
// Elements are of 16 bits and the 128-byte swizzle is on: the 16-byte piece q of shared address a lies at a with bits
// 4..6 xor bits 7..9. What lies outside the tensor is read as 0 and not written.
#pragma once
#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace pycnn::cuda {

// Tiled: a matrix of dim[1] rows of dim[0] elements, rows stride[0] bytes apart; a box is box[1] rows of box[0].
// Im2col: a map of dim = {channels, w, h, n}; a box is box[1] pixels of box[0] channels. Pixels are taken step[0] apart
// from lower[0] to w - 1 + upper[0], then step[1] further in h, likewise bounded, then in the next image; the offsets of
// a tap are added to each.
struct TensorMapSpec {
  const void* address = nullptr;
  uint64_t dim[4] = {1, 1, 1, 1};
  uint64_t stride[3] = {};  // bytes, of dim[1], dim[2], dim[3]
  uint32_t box[2] = {};
  uint32_t step[2] = {1, 1};
  int32_t lower[2] = {}, upper[2] = {};  // of w, h
  Dtype dtype = Dtype::kBf16;
  int32_t im2col = 0;

  int rank() const { return im2col ? 4 : 2; }
};

inline constexpr int kMapElement = 2;        // bytes
inline constexpr int kSwizzleBytes = 128;    // of a box's row
inline constexpr int kSwizzleAtom = 1024;    // bytes after which the swizzle repeats
inline constexpr int64_t kMostOffset = 254;  // of a tap, in w and h

// Null, or which limit of TMA the map breaks.
inline const char* tensor_map_limit(const TensorMapSpec& s) {
  if (reinterpret_cast<uintptr_t>(s.address) % 16 != 0) return "a tensor does not start on a multiple of 16 bytes";
  for (int i = 0; i < s.rank(); ++i)
    if (s.dim[i] == 0 || s.dim[i] > uint64_t{1} << 32) return "a dimension is 0 or more than 2^32";
  for (int i = 0; i + 1 < s.rank(); ++i)
    if (s.stride[i] == 0 || s.stride[i] % 16 != 0 || s.stride[i] >= uint64_t{1} << 40)
      return "a stride is not a multiple of 16 bytes, or 2^40 bytes or more";
  if (s.box[0] == 0 || s.box[0] * kMapElement > kSwizzleBytes) return "a box has rows of more than 128 bytes";
  if (s.box[1] == 0 || s.box[1] > (s.im2col ? 1024u : 256u)) return "a box has more than 256 rows or 1024 pixels";
  for (int i = 0; s.im2col && i < 2; ++i) {
    if (s.step[i] == 0 || s.step[i] > 8) return "a stride of the window is more than 8";
    if (s.lower[i] < -128 || s.lower[i] > 127 || s.upper[i] < -128 || s.upper[i] > 127)
      return "a corner of the window's box lies more than 128 from the map's";
    if (static_cast<int64_t>(s.dim[i + 1]) + s.upper[i] <= s.lower[i]) return "the window's box is empty";
  }
  return nullptr;
}

// Shared address of byte `at` of a swizzled tile.
PYCNN_HOST_DEVICE uint32_t swizzle128(uint32_t address) { return address ^ (address >> 7 & 7) << 4; }

}  // namespace pycnn::cuda
