// Run a function on several threads of one process-wide team.
#pragma once
#include "base/kernel.h"

namespace pycnn {

// kPool: our own threads, which spin at most 100 us after a call and then sleep; for work with no torch op near it.
// kOpenMP: the OpenMP runtime that torch uses, so that its idle threads and ours are the same ones.
enum class Backend { kPool, kOpenMP };

using Job = void (*)(void* context, Worker worker);

// Calls job(context, {id, count}) once for each id in [0, count), count <= workers, and returns when all have ended.
// The caller is worker 0. If another thread is using the pool, or workers == 1, the caller runs alone (count = 1).
// Subnormals are flushed to zero inside the job; the caller's floating-point mode is restored.
void parallel(int workers, Backend backend, Job job, void* context);

// Barrier between the steps of one parallel(): all `count` workers must call wait(), each with its own sense variable
// that starts at 0.
class Barrier {
 public:
  void wait(int& sense, int count);

 private:
  alignas(64) int arrived_ = 0;
  alignas(64) int phase_ = 0;
};

}  // namespace pycnn
