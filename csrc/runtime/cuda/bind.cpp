// The Python face of the CUDA kernels: names, dicts of numbers and raw addresses. Built twice: pycnn._cuda around the
// kernels nvcc compiled, and pycnn_cuda_host, which the tests load, around the same sources compiled by g++.
#include "runtime/bind_params.h"
#include "runtime/cuda/plan.h"
#if defined(PYCNN_CUDA_HOST)
#include "base/cuda/host_fibers.h"
#include "ops/conv2d/wgmma_maps.h"
#endif

namespace pycnn::cuda {
namespace {

struct Bound {
  const AnyKernel& kernel;
  std::shared_ptr<void> params;
};

Bound bind_kernel(const std::string& op_name, const std::string& name, const py::dict& values) {
  const Op& op = find_op(op_name);
  return {find_kernel(op, name), read_params(op, values)};
}

constexpr const char* kDtypes[] = {"float32", "bfloat16", "float16"};

Dtype read_dtype(const std::string& name) {
  for (int i = 0; i < 3; ++i)
    if (name == kDtypes[i]) return static_cast<Dtype>(i);
  throw py::value_error("no CUDA kernel works on " + name);
}

py::list list_kernels(const std::string& name, const py::dict& values) {
  const Op& op = find_op(name);
  const auto params = read_params(op, values);
  py::list out;
  for (const AnyKernel& kernel : op.kernels) {
    const char* reason = kernel.why_not(kernel.kernel, params.get());
    out.append(py::make_tuple(kernel.name, kDtypes[static_cast<int>(kernel.dtype)],
                              reason ? py::object(py::str(reason)) : py::none()));
  }
  return out;
}

void run_kernel(const std::string& op, const std::string& name, const py::dict& values, uintptr_t x, uintptr_t residual,
                uintptr_t w, uintptr_t bias, uintptr_t y, uintptr_t stream, uintptr_t gate) {
  const Bound b = bind_kernel(op, name, values);
  if (const char* reason = b.kernel.why_not(b.kernel.kernel, b.params.get()))
    throw py::value_error(name + " refuses: " + reason);
  const Ptrs ptrs{address<void>(x),     address<void>(residual), address<void>(w),
                  address<float>(bias), address<void>(y),        address<void>(gate)};
  const py::gil_scoped_release release;
  if (const char* reason = b.kernel.launch(b.kernel.kernel, b.params.get(), ptrs, address<void>(stream)))
    throw std::runtime_error(name + ": " + reason);
}

py::object choose(const std::string& name, const std::string& dtype, bool tf32, bool aligned, const py::dict& values) {
  const Op& op = find_op(name);
  const AnyKernel* found = choose_kernel(op, read_dtype(dtype), tf32, aligned, read_params(op, values).get());
  return found ? py::object(py::str(found->name)) : py::none();
}

py::list candidates(const std::string& name, const std::string& dtype, bool tf32, bool aligned,
                    const py::dict& values) {
  const Op& op = find_op(name);
  const auto params = read_params(op, values);
  py::list out;
  for (const AnyKernel& kernel : op.kernels)
    if (fits(kernel, read_dtype(dtype), tf32, aligned) && kernel.why_not(kernel.kernel, params.get()) == nullptr)
      out.append(kernel.name);
  return out;
}

// Seconds on an H200, as base/cuda/cost.h predicts them, of one kernel: what bounds it, and the sum. bytes: of the
// operands and the result, each once, of which `cached` lie in the L2. operations: of a kernel without a cost of its own.
py::dict predict(const std::string& op, const std::string& name, const py::dict& values, double bytes,
                 double operations, double cached) {
  const Bound b = bind_kernel(op, name, values);
  Cost cost = b.kernel.cost(b.kernel.kernel, b.params.get());
  if (cost.launches == 0) cost = pieces_cost(bytes, operations);
  const double memory = (bytes - cached) / kGpu.memory + cached / kGpu.l2, launch = cost.launches * kGpu.launch;
  py::dict out;
  out["products"] = cost.products, out["l2"] = cost.moves, out["waits"] = cost.waits;
  out["memory"] = memory, out["launch"] = launch;
  out["seconds"] = std::fmax(cost.on_chip(), memory) + launch;
  return out;
}

// What predictions are for.
py::dict gpu() {
  py::dict out;
  out["products"] = kGpu.products, out["memory"] = kGpu.memory, out["l2"] = kGpu.l2, out["l2_bytes"] = kGpu.l2_bytes;
  out["sms"] = kGpu.sms, out["launch"] = kGpu.launch;
  return out;
}

void add_step(Plan& plan, const std::string& op, const std::string& kernel, const py::dict& values, const SlotTuple& x,
              const SlotTuple& residual, const SlotTuple& w, const SlotTuple& bias, const SlotTuple& y,
              const SlotTuple& gate) {
  plan.add(op, kernel, read_params(find_op(op), values),
           {read_slot(x), read_slot(residual), read_slot(w), read_slot(bias), read_slot(y), read_slot(gate)});
}

void run_plan(const Plan& plan, uintptr_t arena, const Addresses& inputs, const Addresses& outputs, uintptr_t stream,
              size_t begin, size_t end) {
  if (static_cast<int>(inputs.size()) != plan.inputs() || static_cast<int>(outputs.size()) != plan.outputs())
    throw py::value_error("Plan.run: expected " + std::to_string(plan.inputs()) + " inputs and " +
                          std::to_string(plan.outputs()) + " outputs");
  const py::gil_scoped_release release;
  plan.run(address<void>(arena), inputs.data(), outputs.data(), address<void>(stream), begin, end);
}

void bind_plan(py::module_& m) {
  py::class_<Plan>(m, "Plan")
      .def(py::init<int64_t, int, int>(), py::arg("arena_bytes"), py::arg("n_inputs"), py::arg("n_outputs"))
      .def("add", &add_step, py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("x"), py::arg("residual"),
           py::arg("w"), py::arg("bias"), py::arg("y"), py::arg("gate"))
      .def("run", &run_plan, py::arg("arena"), py::arg("inputs"), py::arg("outputs"), py::arg("stream"),
           py::arg("begin") = 0, py::arg("end") = SIZE_MAX)
      .def_property_readonly("arena_bytes", &Plan::arena_bytes)
      .def("__len__", &Plan::steps);
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
  m.def("candidates", &candidates, py::arg("op"), py::arg("dtype"), py::arg("tf32"), py::arg("aligned"),
        py::arg("params"));
  m.def("predict", &predict, py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("bytes"),
        py::arg("operations"), py::arg("cached") = 0.0);
  m.def("gpu", &gpu);
  m.def("choose", &choose, py::arg("op"), py::arg("dtype"), py::arg("tf32"), py::arg("aligned"), py::arg("params"));
  m.def("run", &run_kernel, py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("x"), py::arg("residual"),
        py::arg("w"), py::arg("bias"), py::arg("y"), py::arg("stream"), py::arg("gate") = 0);
}

}  // namespace

#if defined(PYCNN_CUDA_HOST)
// A tensor map's numbers, and the limit of TMA that it breaks, if any.
py::dict describe(const TensorMapSpec& s) {
  py::dict out;
  out["dim"] = std::vector<uint64_t>(s.dim, s.dim + s.rank());
  out["stride"] = std::vector<uint64_t>(s.stride, s.stride + s.rank() - 1);
  out["box"] = std::vector<uint32_t>(s.box, s.box + 2);
  out["step"] = std::vector<uint32_t>(s.step, s.step + 2);
  out["lower"] = std::vector<int>(s.lower, s.lower + 2);
  out["upper"] = std::vector<int>(s.upper, s.upper + 2);
  out["im2col"] = s.im2col != 0;
  const char* limit = tensor_map_limit(s);
  out["limit"] = limit ? py::object(py::str(limit)) : py::none();
  return out;
}

// Of conv2d's wgmma kernels with tiles of block_n channels: x, weights, residual, y.
py::list tensor_maps(const py::dict& values, int64_t block_n) {
  const auto params = read_params(find_op("conv2d"), values);
  const auto& p = *static_cast<const Conv2dParams*>(params.get());
  py::list out;
  for (const TensorMapSpec& map : {x_map(p, Dtype::kBf16, nullptr), w_map(p, Dtype::kBf16, nullptr, block_n),
                                   y_map(p, Dtype::kBf16, nullptr, p.ldr), y_map(p, Dtype::kBf16, nullptr, p.ldy)})
    out.append(describe(map));
  return out;
}

PYBIND11_MODULE(pycnn_cuda_host, m) {
  m.doc() = "pycnn's CUDA kernels with a fiber for each CUDA thread: for tests.";
  bind_kernels(m);
  bind_plan(m);
  m.def("tensor_maps", &tensor_maps, py::arg("params"), py::arg("block_n"));
  m.def("configure", &fibers::configure, py::arg("seed"), py::arg("drop"));
  m.def("sites", &fibers::sites);
  m.def(
      "allow",
      [](uintptr_t begin, size_t bytes, bool writable, bool constant) {
        fibers::allow(address<void>(begin), bytes, writable, constant);
      },
      py::arg("begin"), py::arg("bytes"), py::arg("writable"), py::arg("constant") = false);
  m.def("forbid_all", &fibers::forbid_all);
  m.def("only_count", &fibers::only_count, py::arg("on"));
  m.def("launches", [] {
    py::list out;
    for (const fibers::Launch& l : fibers::launches())
      out.append(py::make_tuple(l.grid_x, l.grid_y, l.threads, l.shared_bytes, l.cluster));
    return out;
  });
}
#else
PYBIND11_MODULE(_cuda, m) {
  m.doc() = "pycnn's CUDA kernels.";
  bind_kernels(m);
  bind_plan(m);
}
#endif

}  // namespace pycnn::cuda
