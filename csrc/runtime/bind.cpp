// The Python face of kernels and plans: names, dicts of numbers and raw addresses; no torch types.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "base/buffer.h"
#include "base/machine.h"
#include "base/measure.h"
#include "base/parallel.h"
#include "runtime/bind_params.h"
#include "runtime/direct.h"
#include "runtime/guard.h"
#include "runtime/op_table.h"
#include "runtime/plan.h"

namespace py = pybind11;

namespace pycnn {
namespace {

py::dict describe_machine() {
  const Machine& m = machine();
  py::list isas;
  for (int i = 0; i <= static_cast<int>(m.isa); ++i) isas.append(isa_name(static_cast<Isa>(i)));
  py::dict d;
  d["isa"] = isa_name(m.isa);
  d["hardware_isa"] = isa_name(m.hardware);
  d["isas"] = isas;
  d["bf16_products"] = m.bf16_products;
  d["cores"] = m.cores;
  d["l2_bytes"] = m.l2_bytes;
  d["l3_bytes"] = m.l3_bytes;
  return d;
}

Dtype read_dtype(const std::string& name) {
  if (name == "float32") return Dtype::kF32;
  if (name == "bfloat16") return Dtype::kBf16;
  throw py::value_error("no kernels of dtype '" + name + "'");
}

py::list list_kernels(const std::string& name, const py::dict& values, const std::string& dtype) {
  const Op& op = find_op(name);
  const auto params = read_params(op, values);
  py::list out;
  for (const AnyKernel& kernel : op.kernels(read_dtype(dtype)).all) {
    const char* reason = kernel.why_not(kernel.kernel, params.get());
    out.append(py::make_tuple(kernel.name, reason ? py::object(py::str(reason)) : py::none()));
  }
  return out;
}

struct Bound {
  const AnyKernel& kernel;
  std::shared_ptr<void> params;
};

Bound bind_kernel(const std::string& op_name, const std::string& kernel, const py::dict& values) {
  const Op& op = find_op(op_name);
  return {find_kernel(op, kernel), read_params(op, values)};
}

void run_kernel(const std::string& op, const std::string& name, const py::dict& values, uintptr_t x, uintptr_t residual,
                uintptr_t w, uintptr_t bias, uintptr_t y, int workers, uintptr_t gate) {
  const Bound b = bind_kernel(op, name, values);
  if (const char* reason = b.kernel.why_not(b.kernel.kernel, b.params.get()))
    throw py::value_error(name + " refuses: " + reason);
  const Buffer workspace(b.kernel.workspace(b.kernel.kernel, b.params.get(), workers));
  struct Call {
    const Bound& bound;
    AnyPtrs ptrs;
  } call{b,
         {address<void>(x), address<void>(residual), address<float>(w), address<float>(bias), address<void>(y),
          workspace.data(), address<void>(gate)}};
  const py::gil_scoped_release release;
  parallel(
      workers, Backend::kPool,
      [](void* raw, Worker worker) {
        const auto& c = *static_cast<Call*>(raw);
        c.bound.kernel.run(c.bound.kernel.kernel, c.bound.params.get(), c.ptrs, worker);
      },
      &call);
}

py::buffer_info floats_of(const Buffer& b) { return {b.data(), b.bytes() / static_cast<int64_t>(sizeof(float))}; }

void add_step(Plan& plan, const std::string& op, const std::string& kernel, const py::dict& values, const SlotTuple& x,
              const SlotTuple& residual, const SlotTuple& w, const SlotTuple& bias, const SlotTuple& y,
              const SlotTuple& gate) {
  plan.add(op, kernel, read_params(find_op(op), values),
           {read_slot(x), read_slot(residual), read_slot(w), read_slot(bias), read_slot(y), read_slot(gate)});
}

struct Operands {
  const void* const* inputs;
  void* const* outputs;
};

Operands operands(const Plan& plan, const Addresses& inputs, const Addresses& outputs) {
  if (static_cast<int>(inputs.size()) != plan.inputs() || static_cast<int>(outputs.size()) != plan.outputs())
    throw py::value_error("Plan.run: expected " + std::to_string(plan.inputs()) + " inputs and " +
                          std::to_string(plan.outputs()) + " outputs");
  return {reinterpret_cast<const void* const*>(inputs.data()), reinterpret_cast<void* const*>(outputs.data())};
}

void run_plan(Plan& plan, const Addresses& inputs, const Addresses& outputs) {
  const auto at = operands(plan, inputs, outputs);
  const py::gil_scoped_release release;
  plan.run(at.inputs, at.outputs);
}

void run_plan_in(const Plan& plan, uintptr_t memory, const Addresses& inputs, const Addresses& outputs) {
  const auto at = operands(plan, inputs, outputs);
  const py::gil_scoped_release release;
  plan.run_in(address<void>(memory), at.inputs, at.outputs);
}

std::vector<int64_t> run_plan_timed(Plan& plan, const Addresses& inputs, const Addresses& outputs) {
  const auto at = operands(plan, inputs, outputs);
  const py::gil_scoped_release release;
  return plan.run_timed(at.inputs, at.outputs);
}

void run_single(Plan& plan, uintptr_t input, uintptr_t output) {
  if (plan.inputs() != 1 || plan.outputs() != 1) throw py::value_error("Plan.run_single: not one input and output");
  const void* in = address<void>(input);
  void* out = address<void>(output);
  const py::gil_scoped_release release;
  plan.run(&in, &out);
}

void bind_kernels(py::module_& m) {
  m.def("ops", [] {
    std::vector<std::string> names;
    for (const Op& op : op_table()) names.emplace_back(op.name);
    return names;
  });
  m.def("fields", [](const std::string& op) { return find_op(op).fields; }, py::arg("op"));
  m.def("kernels", &list_kernels, py::arg("op"), py::arg("params"), py::arg("dtype") = "float32");
  m.def(
      "choose",
      [](const std::string& name, const py::dict& params, int workers, const std::string& dtype) {
        const Op& op = find_op(name);
        const auto& kernels = op.kernels(read_dtype(dtype));
        const char* found = kernels.choose(read_params(op, params).get(), workers);
        if (found == nullptr) throw std::invalid_argument("no kernel of dtype " + dtype + " takes this " + name);
        return found;
      },
      py::arg("op"), py::arg("params"), py::arg("workers"), py::arg("dtype") = "float32");
  m.def(
      "packed_size",
      [](const std::string& op, const std::string& kernel, const py::dict& params) {
        const Bound b = bind_kernel(op, kernel, params);
        return b.kernel.packed_size(b.kernel.kernel, b.params.get());
      },
      py::arg("op"), py::arg("kernel"), py::arg("params"));
  m.def(
      "pack",
      [](const std::string& op, const std::string& kernel, const py::dict& params, uintptr_t w, uintptr_t out) {
        const Bound b = bind_kernel(op, kernel, params);
        const py::gil_scoped_release release;
        b.kernel.pack(b.kernel.kernel, b.params.get(), address<float>(w), address<float>(out));
      },
      py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("w"), py::arg("out"));
  m.def(
      "workspace",
      [](const std::string& op, const std::string& kernel, const py::dict& params, int workers) {
        const Bound b = bind_kernel(op, kernel, params);
        return b.kernel.workspace(b.kernel.kernel, b.params.get(), workers);
      },
      py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("workers"));
  m.def("run", &run_kernel, py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("x"), py::arg("residual"),
        py::arg("w"), py::arg("bias"), py::arg("y"), py::arg("workers"), py::arg("gate") = 0);
}

void bind_limits(py::module_& m) {
  const py::call_guard<py::gil_scoped_release> unlocked;
  m.def(
      "measure_fma",
      [](int workers, const std::string& dtype) {
        const Dtype elements = read_dtype(dtype);
        const py::gil_scoped_release release;
        return measure_fma(workers, elements);
      },
      py::arg("workers"), py::arg("dtype") = "float32");
  m.def("measure_read", &measure_read, py::arg("workers"), py::arg("bytes"), unlocked);
  m.def("measure_copy", &measure_copy, py::arg("workers"), py::arg("bytes"), unlocked);
}

void bind_plans(py::module_& m) {
  py::class_<Buffer>(m, "Buffer", py::buffer_protocol())
      .def(py::init<int64_t>(), py::arg("floats"))
      .def_buffer([](Buffer& b) { return floats_of(b); });
  py::class_<Arenas, std::shared_ptr<Arenas>>(m, "Arenas")
      .def(py::init<int64_t>(), py::arg("most") = 64)
      .def_property_readonly("bytes", &Arenas::bytes);
  py::class_<Loan>(m, "Loan", py::buffer_protocol())
      .def(py::init<std::shared_ptr<Arenas>, int64_t>(), py::arg("arenas"), py::arg("bytes"))
      .def_buffer([](Loan& l) { return floats_of(l.buffer()); });
  py::class_<Plan>(m, "Plan")
      .def(py::init<int64_t, int64_t, int, int, int, bool, std::shared_ptr<Arenas>, bool>(), py::arg("arena_bytes"),
           py::arg("workspace_bytes"), py::arg("workers"), py::arg("n_inputs"), py::arg("n_outputs"),
           py::arg("pool") = true, py::arg("arenas") = nullptr, py::arg("wakes") = true)
      .def("add", &add_step, py::arg("op"), py::arg("kernel"), py::arg("params"), py::arg("x"), py::arg("residual"),
           py::arg("w"), py::arg("bias"), py::arg("y"), py::arg("gate") = py::make_tuple("none", 0))
      .def("section", &Plan::section, py::arg("begin"), py::arg("end"), py::arg("images"))
      .def("run", &run_plan, py::arg("inputs"), py::arg("outputs"))
      .def("run_single", &run_single, py::arg("input"), py::arg("output"))
      .def("run_in", &run_plan_in, py::arg("memory"), py::arg("inputs"), py::arg("outputs"))
      .def("run_timed", &run_plan_timed, py::arg("inputs"), py::arg("outputs"))
      .def_property_readonly("arena_bytes", &Plan::arena_bytes)
      .def_property_readonly("memory_bytes", &Plan::memory_bytes)
      .def_property_readonly("workers", &Plan::workers)
      .def("__len__", &Plan::steps);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Compiled kernels and plans of pycnn.";
  m.def("machine", &describe_machine);
  bind_kernels(m);
  bind_limits(m);
  bind_plans(m);
  bind_direct(m);
  bind_guard(m);
}

}  // namespace pycnn
