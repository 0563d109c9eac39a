// Switches the processor from one stack to another: 6 registers and the stack pointer on x86-64 (a few nanoseconds),
// ucontext elsewhere (a system call each). The address sanitizer is told, since it keeps track of stacks.
#pragma once
#include <cstddef>
#include <cstdint>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace pycnn::cuda::fibers {

struct Context {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t saved;
#endif
  const void* stack = nullptr;  // bounds, as the sanitizer knows them
  size_t stack_bytes = 0;
  void* fake_stack = nullptr;
};

// The context will call `entry` on this stack; entry ends with leave_context.
void prepare_context(Context& context, char* stack, size_t bytes, void (*entry)());
// Suspends `from`, which is running, and resumes `to`.
void switch_context(Context& from, Context& to);
// First call inside `entry`; `main` is the context that was running.
void entered_context(Context& main);
// As switch_context, for the last time.
void leave_context(Context& from, Context& to);

}  // namespace pycnn::cuda::fibers
