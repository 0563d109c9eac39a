#include "base/parallel.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#ifdef PYCNN_STD_THREADS  // .ci/sanitize thread: the sanitizer misreads OpenMP's own synchronisation
#include <vector>
#else
#include <omp.h>
#endif

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace pycnn {
namespace {

inline void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// FTZ and DAZ for the lifetime of the object: subnormals cost up to 100x a normal operation.
class FlushSubnormals {
 public:
#if defined(__x86_64__)
  FlushSubnormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FlushSubnormals() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    asm volatile("msr fpcr, %0" ::"r"(saved_ | (1ull << 24)));
  }
  ~FlushSubnormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

 private:
  unsigned long long saved_;
#endif
};

constexpr int kMaxWorkers = 256;

// One more than the CPU that worker `id` of the last parallel() was on when it last began or waited; 0: none was.
// Advice: jobs of several callers write over each other's. On a busy machine the scheduler may put two workers on one
// CPU, and one that spins there keeps the other from what it spins for: LeNet at batch 8 took 700 us so, and 50 with one
// worker.
std::atomic<int> places[kMaxWorkers];

int note_place(int id) {
  const int cpu = sched_getcpu() + 1;
  if (places[id].load(std::memory_order_relaxed) != cpu) places[id].store(cpu, std::memory_order_relaxed);
  return cpu;
}

bool shares_cpu(Worker worker) {
  const int cpu = note_place(worker.id);
  for (int id = 0; id < worker.count; ++id)
    if (id != worker.id && places[id].load(std::memory_order_relaxed) == cpu) return true;
  return false;
}

// One turn of a wait for other workers.
inline void spin(int turn, Worker worker) {
  if (turn >= 4096 || (turn % 64 == 63 && shares_cpu(worker)))
    sched_yield();
  else
    relax();
}

void run_flushed(Job job, void* context, Worker worker) {
  const FlushSubnormals flush;
  note_place(worker.id);
  job(context, worker);
}

#ifdef PYCNN_STD_THREADS
void run_openmp(int workers, Job job, void* context) {
  std::vector<std::thread> others;
  for (int id = 1; id < workers; ++id) others.emplace_back(run_flushed, job, context, Worker{id, workers});
  run_flushed(job, context, {0, workers});
  for (std::thread& other : others) other.join();
}
void pause_openmp() {}
#else
void run_openmp(int workers, Job job, void* context) {
#pragma omp parallel num_threads(workers)
  run_flushed(job, context, {omp_get_thread_num(), omp_get_num_threads()});
}
// Ends the threads that OpenMP keeps for this one; its next region starts others, about 50 us each. Refused in a region.
void pause_openmp() { omp_pause_resource_all(omp_pause_soft); }
#endif

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(100);
constexpr int kStreak = 8;  // calls in quick succession after which sleeping threads are woken

// A generation counter starts the workers: they spin on it for kSpin, then sleep on it as a futex.
class Pool {
 public:
  void run(int workers, Job job, void* context) {
    while (threads_ < workers - 1) start(++threads_);
    finish();
    publish(workers, job, context);
    run_flushed(job, context, {0, workers});
    finish();
  }

  // As run() if the threads are awake, on other CPUs; else alone, and they are woken for the next call if this one is in a
  // streak.
  void run_if_awake(int workers, Job job, void* context) {
    if (threads_ >= workers - 1 && sleepers_.load(std::memory_order_acquire) == 0 &&
        pending_.load(std::memory_order_acquire) == 0 && !shares_cpu({0, workers})) {
      run(workers, job, context);
    } else {
      run_flushed(job, context, {0, 1});
      streak_ = Clock::now() - last_ < kSpin ? streak_ + 1 : 0;
      if (streak_ == kStreak && pending_.load(std::memory_order_acquire) == 0) {
        while (threads_ < workers - 1) start(++threads_);
        publish(0, nullptr, nullptr);
        streak_ = 0;
      }
    }
    last_ = Clock::now();
  }

 private:
  // Gives every thread with an id below `workers` its share; with 0 they wake, find none and spin.
  void publish(int workers, Job job, void* context) {
    job_ = job;
    context_ = context;
    count_ = workers;
    pending_.store(threads_, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0)
      syscall(SYS_futex, &generation_, FUTEX_WAKE_PRIVATE, kMaxWorkers, nullptr, nullptr, 0);
  }

  void finish() {
    for (int turn = 0; pending_.load(std::memory_order_acquire) > 0; ++turn) spin(turn, {0, threads_ + 1});
  }

  void start(int id) {
    std::thread([this, id, seen = generation_.load()] { work(id, seen); }).detach();
  }

  void work(int id, unsigned seen) {
    for (;;) {
      wait(id, seen);
      seen = generation_.load(std::memory_order_acquire);
      // Every thread counts down, those without a share too: no field can change while one still reads it.
      if (id < count_) run_flushed(job_, context_, {id, count_});
      pending_.fetch_sub(1, std::memory_order_release);
    }
  }

  // On the caller's CPU a thread that spins would take it from what the caller does next.
  void wait(int id, unsigned seen) {
    const auto until = Clock::now() + kSpin;
    for (int spins = 1; generation_.load(std::memory_order_acquire) == seen; ++spins) {
      relax();
      if (spins % 64 == 0 && (Clock::now() > until || note_place(id) == places[0].load(std::memory_order_relaxed)))
        break;
    }
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (generation_.load(std::memory_order_seq_cst) == seen)
      syscall(SYS_futex, &generation_, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
  }

  alignas(64) std::atomic<unsigned> generation_{0};
  alignas(64) std::atomic<int> pending_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<Job> job_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<int> count_{0};
  int threads_ = 0;
  int streak_ = 0;
  Clock::time_point last_{};  // end of the last call that would not wake
};

// The pool outlives static destruction (its threads are detached). A forked child has none of the parent's threads: it
// starts with a new pool, and the forking thread ends its OpenMP threads before, for which libgomp's next region in the
// child would wait for ever.
struct PoolOwner {
  PoolOwner() {
    pthread_atfork(
        [] {
          instance().mutex.lock();
          pause_openmp();
        },
        [] { instance().mutex.unlock(); },
        [] {
          instance().mutex.unlock();
          instance().pool = new Pool;
        });
  }
  static PoolOwner& instance() {
    static PoolOwner& owner = *new PoolOwner;
    return owner;
  }
  std::mutex mutex;
  Pool* pool = new Pool;
};

// Registered with the library, not at the first use: torch's own ops in a child need it as well.
[[maybe_unused]] const PoolOwner& kOwner = PoolOwner::instance();

}  // namespace

void parallel(int workers, Backend backend, Job job, void* context, Wake wake) {
  workers = workers < kMaxWorkers ? workers : kMaxWorkers;
  if (workers > 1 && backend == Backend::kOpenMP) return run_openmp(workers, job, context);
  if (workers > 1) {
    auto& owner = PoolOwner::instance();
    if (std::unique_lock lock(owner.mutex, std::try_to_lock); lock.owns_lock()) {
      wake == Wake::kAlways ? owner.pool->run(workers, job, context) : owner.pool->run_if_awake(workers, job, context);
      return;
    }
  }
  run_flushed(job, context, {0, 1});
}

void Barrier::wait(int& sense, Worker worker) {
  if (worker.count == 1) return;
  sense ^= 1;
  if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == worker.count) {
    __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&phase_, sense, __ATOMIC_RELEASE);
    return;
  }
  for (int turn = 0; __atomic_load_n(&phase_, __ATOMIC_ACQUIRE) != sense; ++turn) spin(turn, worker);
}

}  // namespace pycnn
