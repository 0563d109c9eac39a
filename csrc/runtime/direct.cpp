#include "runtime/direct.h"

#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "runtime/guard.h"
#include "runtime/plan.h"

namespace py = pybind11;

namespace pycnn {
namespace {

constexpr int kMostAxes = 8;

py::object member(const char* module, const char* name) { return py::module_::import(module).attr(name); }

py::object get(PyObject* object, PyObject* name) {
  py::object found = py::reinterpret_steal<py::object>(PyObject_GetAttr(object, name));
  if (!found) throw py::error_already_set();
  return found;
}

py::object call(PyObject* function) {
  py::object found = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(function));
  if (!found) throw py::error_already_set();
  return found;
}

py::object call_method(PyObject* object, PyObject* name) {
  py::object found = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object, name));
  if (!found) throw py::error_already_set();
  return found;
}

bool truth(const py::object& value) { return PyObject_IsTrue(value.ptr()) == 1; }

// The state of torch in which a call is no more than that: no gradients, hooks of all modules, modes, transforms,
// forward derivatives or tracing. Asked as Python asks: each is a function without arguments, of 25 ns.
class TorchState {
 public:
  static const TorchState& now() {
    static const TorchState& state = *new TorchState;  // outlives the interpreter's end
    return state;
  }

  bool is_tensor(PyObject* object) const { return reinterpret_cast<PyObject*>(Py_TYPE(object)) == tensor_.ptr(); }
  py::object empty_like(PyObject* like) const {
    py::object made = py::reinterpret_steal<py::object>(PyObject_CallOneArg(empty_like_.ptr(), like));
    if (!made) throw py::error_already_set();
    return made;
  }
  long threads() const { return PyLong_AsLong(call(threads_.ptr()).ptr()); }

  bool quiet(const py::object& device_type) const {
    for (const py::object& hooks : hooks_)
      if (PyDict_Size(hooks.ptr()) != 0) return false;
    for (const py::object& on : on_)
      if (truth(call(on.ptr()))) return false;
    PyObject* level = PyDict_GetItemWithError(derivatives_.ptr(), level_.ptr());
    if (level == nullptr || PyLong_AsLong(level) >= 0) return false;
    const py::object autocast =
        py::reinterpret_steal<py::object>(PyObject_CallOneArg(autocast_.ptr(), device_type.ptr()));
    if (!autocast) throw py::error_already_set();
    return !truth(autocast);
  }

 private:
  const py::object tensor_ = member("torch", "Tensor"), empty_like_ = member("torch", "empty_like"),
                   threads_ = member("torch", "get_num_threads"), autocast_ = member("torch", "is_autocast_enabled");
  const std::array<py::object, 2> hooks_{member("torch.nn.modules.module", "_global_forward_hooks"),
                                         member("torch.nn.modules.module", "_global_forward_pre_hooks")};
  const std::array<py::object, 5> on_{
      member("torch", "is_grad_enabled"), member("torch._C", "_len_torch_function_stack"),
      member("torch._C", "_len_torch_dispatch_stack"), member("torch._C._functorch", "peek_interpreter_stack"),
      member("torch._C", "_get_tracing_state")};
  const py::object derivatives_ = py::module_::import("torch.autograd.forward_ad").attr("__dict__");
  const py::str level_{"_current_level"};
};

struct Names {
  py::str shape{"shape"}, stride{"stride"}, dtype{"dtype"}, device{"device"}, is_neg{"is_neg"}, data_ptr{"data_ptr"};
  static const Names& of() {
    static const Names& names = *new Names;
    return names;
  }
};

// Sizes and strides; axes < 0: more than kMostAxes.
struct Layout {
  int axes = 0;
  std::array<int64_t, 2 * kMostAxes> values{};

  Layout(const py::object& shape, const py::object& stride) {
    const Py_ssize_t count = PyTuple_GET_SIZE(shape.ptr());
    if (count > kMostAxes || count != PyTuple_GET_SIZE(stride.ptr())) {
      axes = -1;
      return;
    }
    axes = static_cast<int>(count);
    for (int i = 0; i < axes; ++i) {
      values[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), i));
      values[kMostAxes + i] = PyLong_AsLongLong(PyTuple_GET_ITEM(stride.ptr(), i));
    }
  }
  bool operator==(const Layout& other) const { return axes == other.axes && values == other.values; }
};

struct Entry {
  Layout layout;
  py::object dtype, device, device_type;
  long threads;
  py::object guard_object, function, plan_object, like;  // plan and like: None where `function` is called
  const Guard* guard;
  Plan* plan;
};

class DirectCalls {
 public:
  explicit DirectCalls(const py::list& entries) {
    for (const py::handle& each : entries) {
      const auto [shape, stride, dtype, device, threads, guard, function, plan, like] =
          each.cast<std::tuple<py::tuple, py::tuple, py::object, py::object, long, py::object, py::object, py::object,
                               py::object>>();
      entries_.push_back({Layout(shape, stride), dtype, device, device.attr("type"), threads, guard, function, plan,
                          like, guard.cast<const Guard*>(), plan.is_none() ? nullptr : plan.cast<Plan*>()});
      if (Plan* p = entries_.back().plan; p != nullptr && (p->inputs() != 1 || p->outputs() != 1))
        throw py::value_error("direct_calls: a plan has not one input and output");
    }
  }

  // The result; None: the call is another, or the model is.
  py::object operator()(PyObject* x) const {
    const TorchState& torch = TorchState::now();
    if (!torch.is_tensor(x)) return py::none();
    const Entry* entry = find(x);
    if (entry == nullptr || !torch.quiet(entry->device_type) || truth(call_method(x, Names::of().is_neg.ptr())) ||
        !entry->guard->holds())
      return py::none();
    if (entry->plan == nullptr) return py::reinterpret_borrow<py::function>(entry->function)(py::handle(x));
    py::object y = torch.empty_like(entry->like.ptr());
    const void* in = pointer(x);
    void* out = const_cast<void*>(pointer(y.ptr()));
    {
      const py::gil_scoped_release release;
      entry->plan->run(&in, &out);
    }
    return y;
  }

 private:
  static const void* pointer(PyObject* tensor) {
    return PyLong_AsVoidPtr(call_method(tensor, Names::of().data_ptr.ptr()).ptr());
  }

  // Of a tensor that has no strides, torch raises: it is another's.
  const Entry* find(PyObject* x) const {
    try {
      return found(x);
    } catch (const py::error_already_set&) {
      return nullptr;
    }
  }

  const Entry* found(PyObject* x) const {
    const Names& names = Names::of();
    const Layout layout(get(x, names.shape.ptr()), call_method(x, names.stride.ptr()));
    const py::object dtype = get(x, names.dtype.ptr()), device = get(x, names.device.ptr());
    const long threads = TorchState::now().threads();
    for (const Entry& entry : entries_)
      if (layout == entry.layout && entry.dtype.is(dtype) && entry.threads == threads && entry.device.equal(device))
        return layout.axes < 0 ? nullptr : &entry;
    return nullptr;
  }

  std::vector<Entry> entries_;
};

constexpr const char* kCapsule = "pycnn.DirectCalls";

PyObject* call_direct(PyObject* self, PyObject* x) {
  const auto* calls = static_cast<const DirectCalls*>(PyCapsule_GetPointer(self, kCapsule));
  try {
    return (*calls)(x).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// A builtin function over a capsule: pybind11's way to a method takes 150 ns longer.
py::object direct_calls(const py::list& entries) {
  static PyMethodDef method{"direct", call_direct, METH_O, "direct(x) -> the result, or None"};
  const py::capsule owner(new DirectCalls(entries), kCapsule, [](PyObject* capsule) {
    delete static_cast<DirectCalls*>(PyCapsule_GetPointer(capsule, kCapsule));
  });
  return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&method, owner.ptr(), nullptr));
}

}  // namespace

void bind_direct(py::module_& m) { m.def("direct_calls", &direct_calls, py::arg("entries")); }

}  // namespace pycnn
