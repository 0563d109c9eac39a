#include "runtime/guard.h"

#include <pybind11/stl.h>

namespace py = pybind11;

namespace pycnn {
namespace {

constexpr long long kNoVersion = -1;

// Tensors made in inference mode have no version counter: reading it raises.
long long version_of(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("_version");
  const py::object value = py::reinterpret_steal<py::object>(PyObject_GetAttr(tensor, name));
  if (!value) {
    PyErr_Clear();
    return kNoVersion;
  }
  return PyLong_AsLongLong(value.ptr());
}

long long pointer_of(PyObject* tensor) {
  static PyObject* const name = PyUnicode_InternFromString("data_ptr");
  const py::object value = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(tensor, name));
  if (!value) throw py::error_already_set();
  return static_cast<long long>(PyLong_AsUnsignedLongLong(value.ptr()));
}

}  // namespace

void Guard::watch_item(py::dict holder, py::str key, py::object value) {
  items_.push_back({std::move(holder), std::move(key), std::move(value), Item::kSame, 0, 0});
}

void Guard::watch_tensor(py::dict holder, py::str key, py::object tensor) {
  const long long version = version_of(tensor.ptr()), pointer = pointer_of(tensor.ptr());
  items_.push_back({std::move(holder), std::move(key), std::move(tensor), Item::kTensor, version, pointer});
}

void Guard::watch_empty(py::dict holder) { items_.push_back({std::move(holder), {}, {}, Item::kEmpty, 0, 0}); }

bool Guard::same(const Item& item) {
  if (item.kind == Item::kEmpty) return PyDict_Size(item.holder.ptr()) == 0;
  PyObject* now = PyDict_GetItemWithError(item.holder.ptr(), item.key.ptr());
  if (now == nullptr && PyErr_Occurred()) throw py::error_already_set();
  if (now != item.value.ptr()) return false;
  if (item.kind == Item::kSame) return true;
  return (item.version == kNoVersion || version_of(now) == item.version) && pointer_of(now) == item.pointer;
}

std::vector<int> Guard::changed() const {
  std::vector<int> indices;
  for (size_t i = 0; i < items_.size(); ++i)
    if (!same(items_[i])) indices.push_back(static_cast<int>(i));
  return indices;
}

bool Guard::holds() const {
  for (const Item& item : items_)
    if (!same(item)) return false;
  return true;
}

void bind_guard(py::module_& m) {
  py::class_<Guard>(m, "Guard")
      .def(py::init<>())
      .def("watch_item", &Guard::watch_item, py::arg("holder"), py::arg("key"), py::arg("value"))
      .def("watch_tensor", &Guard::watch_tensor, py::arg("holder"), py::arg("key"), py::arg("tensor"))
      .def("watch_empty", &Guard::watch_empty, py::arg("holder"))
      .def("changed", &Guard::changed)
      .def("holds", &Guard::holds);
}

}  // namespace pycnn
