// The Python face of the CUDA kernels: names, dicts of numbers and raw addresses. Built twice: pycnn._cuda around the
// kernels nvcc compiled, and pycnn_cuda_host, which the tests load, around the same sources compiled by g++.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "runtime/cuda/table.h"
#if defined(PYCNN_CUDA_HOST)
#include "base/cuda/host_fibers.h"
#endif

namespace py = pybind11;

namespace pycnn::cuda {
namespace {

struct Bound {
  const AnyKernel& kernel;
  std::shared_ptr<void> params;
};

std::shared_ptr<void> read_params(const Op& op, const py::dict& values) {
  auto params = op.make_params();
  for (const auto& [key, value] : values) op.set(params.get(), py::cast<std::string>(key), py::cast<double>(value));
  return params;
}

Bound bind_kernel(const std::string& op_name, const std::string& name, const py::dict& values) {
  const Op& op = find_op(op_name);
  return {find_kernel(op, name), read_params(op, values)};
}

template <class T>
T* address(uintptr_t value) {
  return reinterpret_cast<T*>(value);
}

py::list list_kernels(const std::string& name, const py::dict& values) {
  const Op& op = find_op(name);
  const auto params = read_params(op, values);
  py::list out;
  for (const AnyKernel& kernel : op.kernels) {
    static constexpr const char* dtypes[] = {"float32", "bfloat16", "float16"};
    const char* reason = kernel.why_not(kernel.kernel, params.get());
    out.append(py::make_tuple(kernel.name, dtypes[static_cast<int>(kernel.dtype)],
                              reason ? py::object(py::str(reason)) : py::none()));
  }
  return out;
}

void run_kernel(const std::string& op, const std::string& name, const py::dict& values, uintptr_t x, uintptr_t residual,
                uintptr_t w, uintptr_t bias, uintptr_t y, uintptr_t stream) {
  const Bound b = bind_kernel(op, name, values);
  if (const char* reason = b.kernel.why_not(b.kernel.kernel, b.params.get()))
    throw py::value_error(name + " refuses: " + reason);
  const Ptrs ptrs{address<void>(x), address<void>(residual), address<void>(w), address<float>(bias), address<void>(y)};
  const py::gil_scoped_release release;
  if (const char* reason = b.kernel.launch(b.kernel.kernel, b.params.get(), ptrs, address<void>(stream)))
    throw std::runtime_error(name + ": " + reason);
}

void bind_kernels(py::module_& m) {
  m.def("ops", [] {
    std::vector<std::string> names;
    for (const Op& op : op_table()) names.emplace_back(op.name);
    return names;
  });
  m.def("fields", [](const std::string& op) { return find_op(op).fields; }, py::arg("op"));
  m.def("kernels", &list_kernels, py::arg("op"), py::arg("params"));
  m.def(
      "packed_bytes",
      [](const std::string& op, const std::string& kernel, const py::dict& params) {
        const Bound b = bind_kernel(op, kernel, params);
        return b.kernel.packed_bytes(b.kernel.kernel, b.params.get());
      },
      py::arg("op"), py::arg("kernel"), py::arg("params"));
  m.def(
      "pack",
      [](const std::string& op, const std::string& kernel, const py::dict& params, uintptr_t w, uintptr_t out) {
        const Bound b = bind_kernel(op, kernel, params);
        const py::gil_scoped_release release;
        b.kernel.pack(b.kernel.kernel, b.params.get(), address<float>(w), address<void>(out));
      },
      py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("w"), py::arg("out"));
  m.def("run", &run_kernel, py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("x"), py::arg("residual"),
        py::arg("w"), py::arg("bias"), py::arg("y"), py::arg("stream"));
}

}  // namespace

#if defined(PYCNN_CUDA_HOST)
PYBIND11_MODULE(pycnn_cuda_host, m) {
  m.doc() = "pycnn's CUDA kernels with a fiber for each CUDA thread: for tests.";
  bind_kernels(m);
  m.def("configure", &fibers::configure, py::arg("seed"), py::arg("drop"));
  m.def("sites", &fibers::sites);
  m.def(
      "allow",
      [](uintptr_t begin, size_t bytes, bool writable) { fibers::allow(address<void>(begin), bytes, writable); },
      py::arg("begin"), py::arg("bytes"), py::arg("writable"));
  m.def("forbid_all", &fibers::forbid_all);
}
#else
PYBIND11_MODULE(_cuda, m) {
  m.doc() = "pycnn's CUDA kernels.";
  bind_kernels(m);
}
#endif

}  // namespace pycnn::cuda
