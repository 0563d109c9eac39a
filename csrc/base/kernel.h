// What an implementation of an op publishes, and how one is chosen.
//
// Tensors inside kernels are NHWC, fp32 or bf16 (then computed in fp32), with a free pixel stride `ld` in elements: pixel (n, y, x) starts at
// ((n * h + y) * w + x) * ld. A kernel is SPMD: every worker calls run() with its (id, count) and computes its
// own share of the output; shares are disjoint and no worker waits for another inside run().
#pragma once
#include <cstdint>

#include "base/machine.h"

namespace pycnn {

struct Worker {
  int id = 0;
  int count = 1;
};

struct Range {
  int64_t begin;
  int64_t end;
};

// The worker's contiguous share of [0, total): shares differ by at most one item.
inline Range share(int64_t total, Worker worker) {
  const int64_t base = total / worker.count, extra = total % worker.count;
  const int64_t begin = worker.id * base + (worker.id < extra ? worker.id : extra);
  return {begin, begin + base + (worker.id < extra ? 1 : 0)};
}

// One shape for every op. x, residual: inputs; w: weights as produced by the kernel's own pack(); bias: one value
// an output channel; gate: a convolution's (ops/conv2d/conv2d.h); residual, bias and gate may be null; y overlaps an input
// only where the op's header says so. workspace: as asked for.
// Element: what x, residual and y hold; w may hold it too, as pack() made it.
template <class Element>
struct PtrsOf {
  const Element* x = nullptr;
  const Element* residual = nullptr;
  const float* w = nullptr;
  const float* bias = nullptr;
  Element* y = nullptr;
  float* workspace = nullptr;
  const Element* gate = nullptr;
  Element* means = nullptr;  // conv2d_means alone; null: not asked for
};
using Ptrs = PtrsOf<float>;

template <class Params, class Element = float>
struct Kernel {
  const char* name;
  const char* (*why_not)(const Params&, const Machine&);       // null: it takes the problem; else a sentence
  int64_t (*packed_size)(const Params&);                       // floats of packed weights; 0: no weights
  void (*pack)(const Params&, const float* w, float* packed);  // w: torch's order, contiguous
  int64_t (*workspace)(const Params&, int workers);            // floats, all workers together
  void (*run)(const Params&, const PtrsOf<Element>&, Worker);
  // Predicted time in units of the table's own, for a choice among kernels that take the problem; null: the table's
  // order decides.
  double (*cost)(const Params&, int workers) = nullptr;
};

// An op's kernels, best first, reference last.
template <class Params, class Element = float>
struct KernelList {
  const Kernel<Params, Element>* const* items;
  int count;
  const Kernel<Params, Element>* const* begin() const { return items; }
  const Kernel<Params, Element>* const* end() const { return items + count; }
};

// The first kernel that takes the problem, or a later one that takes it at a lower cost where both have one; null: none
// does. A list that ends with the reference has one for every problem.
template <class Params, class Element>
const Kernel<Params, Element>* pick(KernelList<Params, Element> list, const Params& params, const Machine& machine,
                                    int workers) {
  const Kernel<Params, Element>* best = nullptr;
  double least = 0;
  for (const auto* kernel : list) {
    if (best != nullptr && (kernel->cost == nullptr || best->cost == nullptr)) continue;
    if (kernel->why_not(params, machine) != nullptr) continue;
    const double cost = kernel->cost ? kernel->cost(params, workers) : 0;
    if (best == nullptr || cost < least) best = kernel, least = cost;
  }
  return best;
}

// static: kernel sources are built for several instruction sets, and none may export what another could be linked to.
template <class Params>
static int64_t no_weights(const Params&) {
  return 0;
}
template <class Params>
static void pack_nothing(const Params&, const float*, float*) {}
template <class Params>
static int64_t no_workspace(const Params&, int) {
  return 0;
}

}  // namespace pycnn
