#include "base/measure.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>
#include <vector>

#include "base/launch.h"
#include "base/machine.h"
#include "base/simd/probe.h"

namespace pycnn {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kStep = 128;           // floats: 8 vectors of 16
constexpr int64_t kRunBytes = 64 << 20;  // a thread and run: some milliseconds
constexpr int64_t kFmaRounds = 2000000;  // 4 ms at 3 GHz
constexpr auto kBudget = std::chrono::milliseconds(40);

using ProductProbe = int64_t (*)(int64_t rounds);

// Of the instruction set whose kernels run; null: there are none of that type.
ProductProbe product_probe(Dtype elements) {
#if defined(__x86_64__)
  if (elements == Dtype::kBf16) {
    if (machine().isa == Isa::kAvx512 && machine().bf16_products) return isa_avx512_bf16::product_probe;
    return machine().isa >= Isa::kAvx2 ? isa_avx2_bf16::product_probe : nullptr;
  }
  if (machine().isa == Isa::kAvx512) return isa_avx512::product_probe;
  if (machine().isa == Isa::kAvx2) return isa_avx2::product_probe;
#endif
  return elements == Dtype::kF32 ? isa_baseline::product_probe : nullptr;
}

void read_probe(const float* x, int64_t count, int64_t passes) {
#if defined(__x86_64__)
  if (machine().isa == Isa::kAvx512) return isa_avx512::read_probe(x, count, passes);
  if (machine().isa == Isa::kAvx2) return isa_avx2::read_probe(x, count, passes);
#endif
  isa_baseline::read_probe(x, count, passes);
}

void copy_probe(const float* x, float* y, int64_t count, int64_t passes) {
#if defined(__x86_64__)
  if (machine().isa == Isa::kAvx512) return isa_avx512::copy_probe(x, y, count, passes);
  if (machine().isa == Isa::kAvx2) return isa_avx2::copy_probe(x, y, count, passes);
#endif
  isa_baseline::copy_probe(x, y, count, passes);
}

// Units a second of all threads, the best of at least three runs; job(i) is thread i's run of `units` units.
template <class Run>
double best_rate(int workers, double units, const Run& job) {
  struct Context {
    const Run& job;
    int count = 0;
  } context{job};
  double best = 0;
  const auto end = Clock::now() + kBudget;
  for (int run = 0; run < 3 || Clock::now() < end; ++run) {
    const auto start = Clock::now();
    parallel(
        workers, Backend::kPool,
        [](void* raw, Worker worker) {
          auto& c = *static_cast<Context*>(raw);
          if (worker.id == 0) c.count = worker.count;
          c.job(worker.id);
        },
        &context);
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    best = std::max(best, context.count * units / elapsed.count());
  }
  return best;
}

// `count` floats a worker, first touched by the worker which will use them.
std::vector<Buffer> buffers(int workers, int64_t count) {
  struct Context {
    std::vector<Buffer> memory;
    size_t bytes;
  } context{{}, static_cast<size_t>(count) * sizeof(float)};
  for (int i = 0; i < workers; ++i) context.memory.emplace_back(count);
  parallel(
      workers, Backend::kPool,
      [](void* raw, Worker worker) {
        auto& c = *static_cast<Context*>(raw);
        for (size_t i = static_cast<size_t>(worker.id); i < c.memory.size(); i += static_cast<size_t>(worker.count))
          std::memset(c.memory[i].data(), 0, c.bytes);
      },
      &context);
  return std::move(context.memory);
}

}  // namespace

double measure_fma(int workers, Dtype elements) {
  const ProductProbe probe = product_probe(elements);
  if (probe == nullptr) return 0;
  const double units = static_cast<double>(kFmaRounds) * static_cast<double>(probe(1));
  return best_rate(workers, units, [probe](int) { probe(kFmaRounds); });
}

double measure_read(int workers, int64_t bytes) {
  const int64_t count = std::max<int64_t>(1, bytes / (4 * kStep)) * kStep, passes = 1 + kRunBytes / (4 * count);
  const std::vector<Buffer> memory = buffers(workers, count);
  return best_rate(workers, 4.0 * static_cast<double>(count * passes),
                   [&](int i) { read_probe(memory[static_cast<size_t>(i)].data(), count, passes); });
}

double measure_copy(int workers, int64_t bytes) {
  const int64_t half = std::max<int64_t>(1, bytes / (8 * kStep)) * kStep, passes = 1 + kRunBytes / (8 * half);
  const std::vector<Buffer> memory = buffers(workers, 2 * half);
  return best_rate(workers, 8.0 * static_cast<double>(half * passes), [&](int i) {
    float* x = memory[static_cast<size_t>(i)].data();
    copy_probe(x, x + half, half, passes);
  });
}

}  // namespace pycnn
