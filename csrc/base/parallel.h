// Run a function on several threads of one process-wide team.
#pragma once
#include "base/kernel.h"

namespace pycnn {

// kPool: our own threads, which spin at most 100 us after a call and then sleep; for work with no torch op near it.
// kOpenMP: the OpenMP runtime that torch uses, so that its idle threads and ours are the same ones.
enum class Backend { kPool, kOpenMP };

// Whether sleeping threads are woken. kIfAwake, for work shorter than waking takes (9 to 20 us): they share it only while
// they all spin after an earlier call; eight calls within the spinning time of one another wake them for the next.
enum class Wake { kAlways, kIfAwake };

using Job = void (*)(void* context, Worker worker);

// Calls job(context, {id, count}) once for each id in [0, count), count <= workers, and returns when all have ended.
// The caller is worker 0. If another thread is using the pool, its threads sleep and may not be woken, or workers == 1,
// the caller runs alone (count = 1). OpenMP's threads are always woken.
// Subnormals are flushed to zero inside the job; the caller's floating-point mode is restored.
void parallel(int workers, Backend backend, Job job, void* context, Wake wake = Wake::kAlways);

// Barrier between the steps of one parallel(): all workers must call wait(), each with its own sense variable that starts
// at 0. Who waits spins, but for one on whose CPU another worker is: it yields.
class Barrier {
 public:
  void wait(int& sense, Worker worker);

 private:
  alignas(64) int arrived_ = 0;
  alignas(64) int phase_ = 0;
};

}  // namespace pycnn
