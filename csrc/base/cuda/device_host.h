// base/cuda/device.h for g++: each word checks what it touches and then does what the instruction does.
#pragma once
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "base/cuda/host_async.h"
#include "base/cuda/host_fibers.h"

#define PYCNN_DEVICE inline
#define PYCNN_GLOBAL(threads) void

namespace pycnn::cuda {

inline int thread() { return fibers::here.thread; }
inline int64_t block_x() { return fibers::here.block_x; }
inline int64_t block_y() { return fibers::here.block_y; }
inline char* shared() { return fibers::here.shared; }

inline void sync(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("sync", file, line)) fibers::block_barrier();
}
inline void sync_warp(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("sync_warp", file, line)) fibers::warp_exchange([](void* const*) {}, nullptr);
}

inline void wait_for_earlier(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("wait_for_earlier", file, line)) fibers::wait_for_earlier();
}

template <class T>
T not_a_number() {
  T v;
  std::memset(&v, 0xff, sizeof v);
  return v;
}
template <class T>
T load(const T* p) {
  fibers::check_global(p, sizeof(T), false);
  return fibers::too_early(p) ? not_a_number<T>() : *p;
}
template <class T>
void store(T* p, T v) {
  fibers::check_global(p, sizeof(T), true);
  *p = fibers::too_early(p) ? not_a_number<T>() : v;
}
inline Vec16 load16(const void* p, bool take) { return take ? load(static_cast<const Vec16*>(p)) : Vec16{}; }
inline void store16(void* p, const Vec16& v) { store(static_cast<Vec16*>(p), v); }

template <class T>
T shared_load(const T* p) {
  fibers::check_shared(p, sizeof(T));
  return *p;
}
template <class T>
void shared_store(T* p, T v) {
  fibers::check_shared(p, sizeof(T));
  fibers::shared_written(p, sizeof(T));
  *p = v;
}
inline Vec16 shared_load16(const void* p) { return shared_load(static_cast<const Vec16*>(p)); }
inline void shared_store16(void* p, const Vec16& v) { shared_store(static_cast<Vec16*>(p), v); }

inline void cp_async16(void* to, const void* from, int bytes) { fibers::async_copy(to, from, bytes); }
inline void cp_async_commit() { fibers::async_commit(); }
template <int kFlying>
void cp_async_wait(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (fibers::site("cp_async_wait", file, line)) fibers::async_wait(kFlying);
}

// Lane l gets word l % 4 of row l / 4 of each matrix.
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  struct Slot {
    uint32_t* r;
    const void* row;
  } slot{r, row};
  fibers::check_shared(row, 16);
  fibers::warp_exchange(
      [](void* const* slots) {
        for (int lane = 0; lane < fibers::kWarp; ++lane)
          for (int matrix = 0; matrix < 4; ++matrix) {
            const auto* from = static_cast<const Slot*>(slots[matrix * 8 + lane / 4]);
            std::memcpy(&static_cast<const Slot*>(slots[lane])->r[matrix],
                        static_cast<const char*>(from->row) + lane % 4 * 4, 4);
          }
      },
      &slot);
}

// Values a 32-bit register holds: two 16-bit ones or one TF32, whose low 13 bits the tensor core does not read.
struct WordBf16 {
  static constexpr int kCount = 2;
  static float value(uint32_t word, int i) { return to_float(Bf16{static_cast<uint16_t>(word >> 16 * i)}); }
};
struct WordF16 {
  static constexpr int kCount = 2;
  static float value(uint32_t word, int i) { return to_float(F16{static_cast<uint16_t>(word >> 16 * i)}); }
};
struct WordTf32 {
  static constexpr int kCount = 1;
  static float value(uint32_t word, int) { return bits_float(word & ~0x1fffu); }
};

// Fragments: with g = lane / 4 and t = lane % 4, a[i] is word t + i / 2 * 4 of row g + i % 2 * 8, b[i] is word t + i * 4
// of row (output) g, c[i] is row g + i / 2 * 8, output 2 t + i % 2.
template <class Word>
void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Slot {
    float* c;
    const uint32_t *a, *b;
  } slot{c, a, b};
  fibers::warp_exchange(
      [](void* const* slots) {
        constexpr int kDepth = 8 * Word::kCount;
        float am[16][kDepth], bm[8][kDepth];
        for (int lane = 0; lane < fibers::kWarp; ++lane) {
          const auto* s = static_cast<const Slot*>(slots[lane]);
          const int g = lane / 4, t = lane % 4;
          for (int v = 0; v < Word::kCount; ++v) {
            for (int i = 0; i < 4; ++i) am[g + i % 2 * 8][(t + i / 2 * 4) * Word::kCount + v] = Word::value(s->a[i], v);
            for (int i = 0; i < 2; ++i) bm[g][(t + i * 4) * Word::kCount + v] = Word::value(s->b[i], v);
          }
        }
        for (int lane = 0; lane < fibers::kWarp; ++lane)
          for (int i = 0; i < 4; ++i) {
            float& sum = static_cast<const Slot*>(slots[lane])->c[i];
            const float *row = am[lane / 4 + i / 2 * 8], *output = bm[lane % 4 * 2 + i % 2];
            for (int k = 0; k < kDepth; ++k) sum += row[k] * output[k];
          }
      },
      &slot);
}
inline void mma_bf16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma<WordBf16>(c, a, b); }
inline void mma_f16(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma<WordF16>(c, a, b); }
inline void mma_tf32(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) { mma<WordTf32>(c, a, b); }

inline float round_tf32(float v) { return std::isfinite(v) ? bits_float((float_bits(v) + 0x1000u) & ~0x1fffu) : v; }

inline float reciprocal(float v) { return 1 / v; }

inline float shfl_xor(float v, int mask) {
  struct Slot {
    float value, got;
    int mask;
  } slot{v, 0, mask};
  fibers::warp_exchange(
      [](void* const* slots) {
        for (int lane = 0; lane < fibers::kWarp; ++lane) {
          auto* s = static_cast<Slot*>(slots[lane]);
          s->got = static_cast<const Slot*>(slots[lane ^ s->mask])->value;
        }
      },
      &slot);
  return slot.got;
}

template <auto kKernel, class Args>
const char* launch(Grid grid, int threads, int shared_bytes, Stream, const Args& args) {
  if (grid.x > 0x7fffffff || grid.y > 0xffff) return "the launch needs more blocks than a CUDA grid has";
  if (shared_bytes > 227 * 1024) throw std::runtime_error("a block has at most 227 KiB of shared memory");
  fibers::run(
      grid.x, grid.y, threads, shared_bytes, [](const void* a) { kKernel(*static_cast<const Args*>(a)); }, &args);
  return nullptr;
}

}  // namespace pycnn::cuda
