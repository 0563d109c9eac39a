// What this machine reaches at best, measured with `workers` threads of the pool at once: the best of a few runs of some
// milliseconds. Rates are of all threads together.
#pragma once
#include <cstdint>

namespace pycnn {

// fp32 operations a second; a multiply-add is two.
double measure_fma(int workers);

// Bytes read a second, each thread reading `bytes` of its own again and again: how large they are says from which cache
// they come.
double measure_read(int workers, int64_t bytes);

// Bytes read plus bytes written a second; each thread's `bytes` are source and target together. Ordinary stores, as
// kernels use: a line is read before it is written, which is not counted.
double measure_copy(int workers, int64_t bytes);

}  // namespace pycnn
