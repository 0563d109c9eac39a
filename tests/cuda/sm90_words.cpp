// A kernel for each word of base/cuda/sm90.h, run by fibers: for test_sm90_words_cuda.py. Matrices are of bf16.
#include <pybind11/pybind11.h>

#include "base/cuda/host_fibers.h"
#include "base/cuda/sm90.h"

namespace py = pybind11;

namespace pycnn::cuda {
namespace {

constexpr int kBox = 64 * kSwizzleBytes;  // bytes of 64 rows

struct WordsArgs {
  TensorMap x, y;
  const uint16_t* from;
  float* out;
  int at[4], offset[2];
  int phases, bytes;
};

char* aligned_shared() { return shared() + (kSwizzleAtom - shared_address(shared()) % kSwizzleAtom) % kSwizzleAtom; }

// Warp 1 hands `phases` values to warp 0, one place for all of them, by a barrier each way.
void hand_over(PYCNN_GRID_CONSTANT WordsArgs a) {
  auto* full = reinterpret_cast<uint64_t*>(aligned_shared());
  auto* value = reinterpret_cast<float*>(full + 2);
  if (thread() == 0) {
    mbarrier_init(full, 1), mbarrier_init(full + 1, 32);
    mbarrier_init_fence();
  }
  sync();
  for (int i = 0; i < a.phases; ++i) {
    if (thread() == 32) {
      mbarrier_wait(full + 1, i % 2 ^ 1);
      shared_store(value, static_cast<float>(i));
      mbarrier_arrive(full);
    } else if (thread() < 32) {
      mbarrier_wait(full, i % 2);
      store(a.out + i * 32 + thread(), shared_load(value));
      mbarrier_arrive(full + 1);
    }
  }
}

// A box by TMA, written to `out` as 64 rows of 64 values; `bytes` are expected of it.
template <bool kIm2col>
void load_box(PYCNN_GRID_CONSTANT WordsArgs a) {
  char* box = aligned_shared();
  auto* barrier = reinterpret_cast<uint64_t*>(box + kBox);
  if (thread() == 0) {
    mbarrier_init(barrier, 1);
    mbarrier_init_fence();
    mbarrier_expect(barrier, a.bytes);
    if (kIm2col) {
      tma_load_im2col(box, &a.x, a.at[0], a.at[1], a.at[2], a.at[3], a.offset[0], a.offset[1], barrier);
    } else {
      tma_load(box, &a.x, a.at[0], a.at[1], barrier);
    }
  }
  sync();
  mbarrier_wait(barrier, 0);
  for (int i = thread(); i < 64 * 64; i += 32) {
    const auto* p =
        reinterpret_cast<const uint16_t*>(box + i / 64 * 128 + ((i % 64 / 8 ^ i / 64 % 8) * 16) + i % 8 * 2);
    store(a.out + i, to_float(Bf16{shared_load(p)}));
  }
}

// `from`, 64 x 64, to the box at `at` of y; twice, that the box must be free before it is written again.
void store_box(PYCNN_GRID_CONSTANT WordsArgs a) {
  char* box = aligned_shared();
  if (thread() == 0) {
    mbarrier_init(reinterpret_cast<uint64_t*>(box + kBox), 1);
    mbarrier_init_fence();
  }
  for (int time = 0; time < 2; ++time) {
    if (thread() == 0) tma_store_wait();
    sync_threads(1, 64);
    for (int i = thread(); i < 64 * 64; i += 64) {
      auto* p = reinterpret_cast<uint16_t*>(box + i / 64 * 128 + ((i % 64 / 8 ^ i / 64 % 8) * 16) + i % 8 * 2);
      shared_store(p, load(a.from + time * 64 * 64 + i));
    }
    fence_async();
    sync_threads(2, 64);
    if (thread() == 0) {
      tma_store(&a.y, box, a.at[0], a.at[1] + time * 64);
      tma_store_commit();
    }
  }
  if (thread() == 0) tma_store_wait();
}

// out[64 x N] = sum over 64 of x[64 rows] y[N rows]^T, twice over: two groups fly.
template <int N>
void multiply(PYCNN_GRID_CONSTANT WordsArgs a) {
  char *rows = aligned_shared(), *columns = rows + kBox;
  auto* barrier = reinterpret_cast<uint64_t*>(columns + N * kSwizzleBytes);
  if (thread() == 0) {
    mbarrier_init(barrier, 1);
    mbarrier_init_fence();
    mbarrier_expect(barrier, (64 + N) * kSwizzleBytes);
    tma_load(rows, &a.x, 0, 0, barrier);
    tma_load(columns, &a.y, 0, 0, barrier);
  }
  sync();
  mbarrier_wait(barrier, 0);
  float acc[N / 2] = {};
  wgmma_fence();
  for (int time = 0; time < 2; ++time) {
    for (int k = 0; k < 4; ++k) wgmma<Bf16, N>(acc, wgmma_descriptor(rows) + 2 * k, wgmma_descriptor(columns) + 2 * k);
    wgmma_commit();
  }
  wgmma_wait<0>();
  wgmma_results(acc);
  const int row = thread() / 32 * 16 + thread() % 32 / 4;
  for (int i = 0; i < N / 2; ++i)
    store(a.out + (row + i / 2 % 2 * 8) * N + i / 4 * 8 + thread() % 4 * 2 + i % 2, acc[i]);
}

// out[block] = what the next block of the cluster has.
void neighbour(PYCNN_GRID_CONSTANT WordsArgs a) {
  auto* mine = reinterpret_cast<uint32_t*>(shared());
  if (thread() == 0)
    for (uint32_t i = 0; i < 4; ++i) shared_store(mine + i, static_cast<uint32_t>(block_x() * 10) + i);
  cluster_sync();
  if (thread() == 1) {
    const Vec16 v = cluster_load16(mine, (cluster_rank() + 1) % 4);
    for (int i = 0; i < 4; ++i) store(a.out + block_x() * 4 + i, static_cast<float>(v.word[i]));
  }
  cluster_sync();
}

TensorMapSpec spec(const py::dict& d) {
  TensorMapSpec s;
  const auto fill = [&](const char* name, auto* to) {
    if (!d.contains(name)) return;
    int i = 0;
    for (const auto& v : py::list(d[name])) to[i++] = v.cast<std::remove_reference_t<decltype(*to)>>();
  };
  if (d.contains("address")) s.address = reinterpret_cast<const void*>(d["address"].cast<uintptr_t>());
  s.im2col = d.contains("im2col") && d["im2col"].cast<bool>();
  fill("dim", s.dim), fill("stride", s.stride), fill("box", s.box), fill("step", s.step);
  fill("lower", s.lower), fill("upper", s.upper);
  return s;
}

void run(const std::string& word, const py::dict& d) {
  WordsArgs a{};
  const auto number = [&](const char* name) { return d.contains(name) ? d[name].cast<int64_t>() : 0; };
  for (const char* name : {"x", "y"})
    if (d.contains(name)) {
      const char* error = encode(spec(d[name]), name[0] == 'x' ? &a.x : &a.y);
      if (error) throw py::value_error(error);
    }
  a.from = reinterpret_cast<const uint16_t*>(number("from")), a.out = reinterpret_cast<float*>(number("out"));
  a.phases = static_cast<int>(number("phases")),
  a.bytes = static_cast<int>(d.contains("bytes") ? number("bytes") : kBox);
  for (int i = 0; d.contains("at") && i < 4; ++i) a.at[i] = py::list(d["at"])[static_cast<size_t>(i)].cast<int>();
  for (int i = 0; d.contains("offset") && i < 2; ++i)
    a.offset[i] = py::list(d["offset"])[static_cast<size_t>(i)].cast<int>();
  if (word == "hand_over") launch<hand_over>({}, 64, 4096, nullptr, a);
  if (word == "load") launch<load_box<false>>({}, 32, kBox + 2048, nullptr, a);
  if (word == "load_im2col") launch<load_box<true>>({}, 32, kBox + 2048, nullptr, a);
  if (word == "store") launch<store_box>({}, 64, kBox + 2048, nullptr, a);
  if (word == "multiply64") launch<multiply<64>>({}, 128, 3 * kBox + 2048, nullptr, a);
  if (word == "multiply128") launch<multiply<128>>({}, 128, 3 * kBox + 2048, nullptr, a);
  if (word == "neighbour") launch_cluster<neighbour>({8, 1}, 4, 32, 1024, nullptr, a);
}

}  // namespace

PYBIND11_MODULE(pycnn_cuda_words, m) {
  m.doc() = "Kernels of one word of sm_90 each: for tests.";
  m.def("run", &run, py::arg("word"), py::arg("arguments"));
  m.def("limit", [](const py::dict& d) {
    const char* limit = tensor_map_limit(spec(d));
    return limit ? py::object(py::str(limit)) : py::none();
  });
  m.def("configure", &fibers::configure, py::arg("seed"), py::arg("drop"));
  m.def("sites", [] {
    py::list out;
    for (const std::string& site : fibers::sites()) out.append(site);
    return out;
  });
  m.def("forbid_all", &fibers::forbid_all);
  m.def(
      "allow",
      [](uintptr_t begin, size_t bytes, bool writable) {
        fibers::allow(reinterpret_cast<const void*>(begin), bytes, writable);
      },
      py::arg("begin"), py::arg("bytes"), py::arg("writable"));
}

}  // namespace pycnn::cuda
