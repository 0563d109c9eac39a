// Batched products of two values: y[p, i, j] = scale * sum_c a[p, i, c] * b[p, c, j] + r[p, i, j].
//
// p runs over four axes of sizes s[0..3]; entry p of a begins at sum_d p_d * a[d], its element (i, c) lies at
// i * am + c * ac from there, and so on for b (bc, bk), r (rm, rk) and y (ym, yk). Strides are in elements; those of
// what is read may be 0, so that it repeats.
// Ptrs: x = a, residual = b, w = r (a value or a tensor of the model, not packed weights), or null for none.
#pragma once
#include "base/kernel.h"

namespace pycnn {

inline constexpr int kMatMulAxes = 4;

struct MatMulParams {
  int64_t s[kMatMulAxes] = {1, 1, 1, 1};
  int64_t m = 1, c = 1, k = 1;  // rows, products a sum has, columns
  int64_t a[kMatMulAxes] = {}, am = 0, ac = 1;
  int64_t b[kMatMulAxes] = {}, bc = 0, bk = 1;
  int64_t r[kMatMulAxes] = {}, rm = 0, rk = 1;
  int64_t y[kMatMulAxes] = {}, ym = 0, yk = 1;
  double scale = 1;
};

template <class Visit>
void visit_fields(MatMulParams& p, Visit&& field) {
  field("s0", p.s[0]), field("s1", p.s[1]), field("s2", p.s[2]), field("s3", p.s[3]);
  field("m", p.m), field("c", p.c), field("k", p.k), field("scale", p.scale);
  field("a0", p.a[0]), field("a1", p.a[1]), field("a2", p.a[2]), field("a3", p.a[3]);
  field("b0", p.b[0]), field("b1", p.b[1]), field("b2", p.b[2]), field("b3", p.b[3]);
  field("r0", p.r[0]), field("r1", p.r[1]), field("r2", p.r[2]), field("r3", p.r[3]);
  field("y0", p.y[0]), field("y1", p.y[1]), field("y2", p.y[2]), field("y3", p.y[3]);
  field("am", p.am), field("ac", p.ac), field("bc", p.bc), field("bk", p.bk);
  field("rm", p.rm), field("rk", p.rk), field("ym", p.ym), field("yk", p.yk);
}

inline int64_t matmul_batch(const MatMulParams& p) { return p.s[0] * p.s[1] * p.s[2] * p.s[3]; }

// Where entry p of the batch begins, by the strides of one operand.
inline int64_t matmul_start(const MatMulParams& p, const int64_t (&strides)[kMatMulAxes], int64_t entry) {
  int64_t at = 0;
  for (int d = kMatMulAxes - 1; d >= 0; --d) {
    at += entry % p.s[d] * strides[d];
    entry /= p.s[d];
  }
  return at;
}

using MatMulKernel = Kernel<MatMulParams>;
KernelList<MatMulParams> matmul_kernels();

}  // namespace pycnn
