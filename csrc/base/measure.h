// What this machine reaches at best, measured with `workers` threads of the pool at once: the best of a few runs of some
// milliseconds. Rates are of all threads together.
#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace pycnn {

// Operations a second of products of such elements, summed in fp32; a multiply-add is two. 0: there are no kernels of them.
double measure_fma(int workers, Dtype elements);

// Bytes read a second, each thread reading `bytes` of its own again and again: how large they are says from which cache
// they come.
double measure_read(int workers, int64_t bytes);

// Bytes read plus bytes written a second; each thread's `bytes` are source and target together. Ordinary stores, as
// kernels use: a line is read before it is written, which is not counted.
double measure_copy(int workers, int64_t bytes);

}  // namespace pycnn
