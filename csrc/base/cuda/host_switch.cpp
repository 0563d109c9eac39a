#include "base/cuda/host_switch.h"

#if defined(__x86_64__)
extern "C" void pycnn_switch_stack(void** save, void* resume);
asm(R"(
.text
.hidden pycnn_switch_stack
.globl pycnn_switch_stack
.type pycnn_switch_stack, @function
pycnn_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size pycnn_switch_stack, .-pycnn_switch_stack
)");
#endif

namespace pycnn::cuda::fibers {
namespace {

void swap_stacks(Context& from, Context& to) {
#if defined(__x86_64__)
  pycnn_switch_stack(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.saved, &to.saved);
#endif
}

void announce([[maybe_unused]] void** fake_stack, [[maybe_unused]] const Context& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, to.stack, to.stack_bytes);
#endif
}

void arrived([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom, [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, bottom, bytes);
#endif
}

}  // namespace

void prepare_context(Context& context, char* stack, size_t bytes, void (*entry)()) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, bytes);  // a fiber that was left where it waited had its frames there
#endif
  context.stack = stack, context.stack_bytes = bytes, context.fake_stack = nullptr;
#if defined(__x86_64__)
  // From the top: a return address that is never used, entry, six registers. At entry the stack pointer is 8 past a
  // multiple of 16, as after a call.
  const auto top = (reinterpret_cast<uintptr_t>(stack) + bytes) & ~uintptr_t{15};
  auto** slots = reinterpret_cast<void**>(top);
  slots[-1] = nullptr;
  slots[-2] = reinterpret_cast<void*>(entry);
  for (int i = 3; i <= 8; ++i) slots[-i] = nullptr;
  context.stack_pointer = slots - 8;
#else
  getcontext(&context.saved);
  context.saved.uc_stack.ss_sp = stack, context.saved.uc_stack.ss_size = bytes;
  makecontext(&context.saved, entry, 0);
#endif
}

void switch_context(Context& from, Context& to) {
  announce(&from.fake_stack, to);
  swap_stacks(from, to);
  arrived(from.fake_stack, nullptr, nullptr);
}

void entered_context(Context& main) { arrived(nullptr, &main.stack, &main.stack_bytes); }

void leave_context(Context& from, Context& to) {
  announce(nullptr, to);
  swap_stacks(from, to);
}

}  // namespace pycnn::cuda::fibers
