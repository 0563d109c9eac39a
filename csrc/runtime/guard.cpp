#include "runtime/guard.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

namespace py = pybind11;

namespace pycnn {
namespace {

constexpr long long kNoVersion = -1;
constexpr size_t kHoldersAhead = 32, kTensorsAhead = 16;

// What a type's `name` is; null where it has none.
py::object attribute(PyObject* object, const char* name) {
  py::object found = py::reinterpret_steal<py::object>(PyObject_GetAttrString(object, name));
  if (!found) PyErr_Clear();
  return found;
}

py::object attribute(PyTypeObject* type, const char* name) {
  return attribute(reinterpret_cast<PyObject*>(type), name);
}

// A number that another content of the dict has another of (PEP 509); 0 where Python keeps none.
uint64_t stamp_of(PyObject* dict) {
#if PY_VERSION_HEX < 0x030C0000
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#else
  static_cast<void>(dict);
  return 0;
#endif
}

// The address in torch's `_cdata` of a tensor or a storage; null where it has none.
const char* address_of(PyObject* object) {
  const py::object value = object == nullptr ? py::object() : attribute(object, "_cdata");
  if (!value || !PyLong_Check(value.ptr())) return nullptr;
  const auto address = static_cast<uintptr_t>(PyLong_AsUnsignedLongLong(value.ptr()));
  if (PyErr_Occurred()) PyErr_Clear();
  return reinterpret_cast<const char*>(address);
}

}  // namespace

// torch's getters are C functions; they are called without the lookup by name.
Guard::Getters Guard::getters_of(PyTypeObject* type) {
  Getters getters;
  const py::object version = attribute(type, "_version"), pointer = attribute(type, "data_ptr");
  if (version && Py_TYPE(version.ptr()) == &PyGetSetDescr_Type)
    getters.version = reinterpret_cast<PyGetSetDescrObject*>(version.ptr())->d_getset;
  if (pointer && Py_TYPE(pointer.ptr()) == &PyMethodDescr_Type) {
    PyMethodDef* method = reinterpret_cast<PyMethodDescrObject*>(pointer.ptr())->d_method;
    if (method->ml_flags == METH_NOARGS) getters.pointer = method->ml_meth;
  }
  return getters;
}

// Tensors made in inference mode have no version counter: reading it raises.
long long Guard::version_of(PyObject* tensor, const Getters& getters) {
  static PyObject* const name = PyUnicode_InternFromString("_version");
  const py::object value = py::reinterpret_steal<py::object>(
      getters.version ? getters.version->get(tensor, getters.version->closure) : PyObject_GetAttr(tensor, name));
  if (!value) {
    PyErr_Clear();
    return kNoVersion;
  }
  return PyLong_AsLongLong(value.ptr());
}

long long Guard::pointer_of(PyObject* tensor, const Getters& getters) {
  static PyObject* const name = PyUnicode_InternFromString("data_ptr");
  const py::object value = py::reinterpret_steal<py::object>(getters.pointer ? getters.pointer(tensor, nullptr)
                                                                             : PyObject_CallMethodNoArgs(tensor, name));
  if (!value) throw py::error_already_set();
  return static_cast<long long>(PyLong_AsUnsignedLongLong(value.ptr()));
}

size_t Guard::watch(Item item) {
  const size_t number = items_.size();
  const auto [found, added] = numbers_.try_emplace(item.holder.ptr(), holders_.size());
  if (added) holders_.push_back({item.holder.ptr(), {}, 0});
  Holder& holder = holders_[found->second];
  holder.items.push_back(number);
  holder.stamp = 0;
  items_.push_back(std::move(item));
  return number;
}

void Guard::watch_item(py::dict holder, py::str key, py::object value) {
  watch({std::move(holder), std::move(key), std::move(value), 0});
}

void Guard::watch_size(py::dict holder) {
  const Py_ssize_t size = PyDict_Size(holder.ptr());
  watch({std::move(holder), {}, {}, size});
}

void Guard::watch_tensor(py::dict holder, py::str key, py::object tensor) {
  PyObject* const object = tensor.ptr();
  const Getters getters = getters_of(Py_TYPE(object));
  const long long version = version_of(object, getters), pointer = pointer_of(object, getters);
  const size_t item = watch({std::move(holder), std::move(key), std::move(tensor), 0});
  const TensorWords* const words = words_of(object, version, pointer);
  tensors_.push_back(
      {object, item, words, words ? words->read(object) : TensorWords::Values{}, getters, version, pointer, 0});
  note_lines(tensors_.back());
  tensors_.back().lines = lines_.size();
}

// Where they say of this tensor what torch's getters do.
const TensorWords* Guard::words_of(PyObject* tensor, long long version, long long pointer) {
  const TensorWords* const words = TensorWords::find(tensor);
  if (words == nullptr) return nullptr;
  const TensorWords::Values now = words->read(tensor);
  const auto itemsize = attribute(tensor, "itemsize").cast<long long>();
  const bool counted = now.version == TensorWords::kNoVersion ? version == kNoVersion : now.version == version;
  return counted && static_cast<long long>(now.data) + now.offset * itemsize == pointer ? words : nullptr;
}

// A call leaves nothing of this in a near cache, and a tensor is a chain: the Python object, torch's tensor, its
// version counter and its storage. Their lines are noted once, and asked for before their turn comes; asking for what is
// no address any more does nothing. By getters (MobileNetV2's 314 tensors and 214 modules behind a call on one thread:
// 160 -> 48 us; ResNet-50: 312 -> 114) the words of the tensor's first lines that look like addresses are, among others,
// those of its counter.
void Guard::note_lines(const Tensor& of) {
  PyObject* const tensor = of.object;
  const auto note = [this](const char* address) {
    const auto line = reinterpret_cast<uintptr_t>(address) / 64 * 64;
    lines_.push_back(reinterpret_cast<const char*>(line));
  };
  const size_t begin = lines_.size();
  if (of.words != nullptr) {
    for (const char* const address : of.words->touched(tensor)) note(address);
  } else {
    note(reinterpret_cast<const char*>(tensor));
    note(reinterpret_cast<const char*>(tensor) + sizeof(PyObject));
    if (const char* const impl = address_of(tensor)) {
      for (int line = 0; line < 3; ++line) note(impl + 64 * line);
      uintptr_t words[12];
      std::memcpy(words, impl, sizeof words);
      for (const uintptr_t word : words)
        if (word % 8 == 0 && word >> 16 != 0 && word >> 47 == 0) note(reinterpret_cast<const char*>(word));
      if (const py::object method = attribute(tensor, "untyped_storage")) {
        const py::object storage = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(method.ptr()));
        if (!storage) PyErr_Clear();
        if (const char* const address = address_of(storage.ptr())) note(address), note(address + 64);
      }
    }
  }
  std::sort(lines_.begin() + static_cast<std::ptrdiff_t>(begin), lines_.end());
  lines_.erase(std::unique(lines_.begin() + static_cast<std::ptrdiff_t>(begin), lines_.end()), lines_.end());
}

bool Guard::there(const Item& item) const {
  if (!item.value) return PyDict_Size(item.holder.ptr()) == item.size;
  PyObject* now = PyDict_GetItemWithError(item.holder.ptr(), item.key.ptr());
  if (now == nullptr && PyErr_Occurred()) throw py::error_already_set();
  return now == item.value.ptr();
}

bool Guard::there(const Holder& holder) const {
  const uint64_t stamp = stamp_of(holder.dict);
  if (stamp != 0 && stamp == holder.stamp) return true;
  for (const size_t item : holder.items)
    if (!there(items_[item])) return false;
  holder.stamp = stamp;
  return true;
}

bool Guard::same(const Tensor& tensor) {
  if (tensor.words != nullptr) return tensor.words->read(tensor.object) == tensor.values;
  return (tensor.version == kNoVersion || version_of(tensor.object, tensor.getters) == tensor.version) &&
         pointer_of(tensor.object, tensor.getters) == tensor.pointer;
}

std::vector<int> Guard::changed() const {
  if (holds()) return {};  // asks for its lines ahead: behind a call a sixth of the time of what follows
  std::vector<bool> others(items_.size());
  for (size_t i = 0; i < items_.size(); ++i) others[i] = !there(items_[i]);
  for (const Tensor& tensor : tensors_) others[tensor.item] = others[tensor.item] || !same(tensor);
  std::vector<int> indices;
  for (size_t i = 0; i < others.size(); ++i)
    if (others[i]) indices.push_back(static_cast<int>(i));
  return indices;
}

bool Guard::holds() const {
  for (size_t i = 0; i < holders_.size(); ++i) {
    if (i + kHoldersAhead < holders_.size()) __builtin_prefetch(holders_[i + kHoldersAhead].dict);
    if (!there(holders_[i])) return false;
  }
  size_t asked = 0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    for (const size_t end = tensors_[std::min(i + kTensorsAhead, tensors_.size() - 1)].lines; asked < end; ++asked)
      __builtin_prefetch(lines_[asked]);
    if (!same(tensors_[i])) return false;
  }
  return true;
}

void bind_guard(py::module_& m) {
  m.def("learn_tensor_words", &TensorWords::learn, py::arg("samples"), py::arg("types"));
  py::class_<Guard>(m, "Guard")
      .def(py::init<>())
      .def("watch_item", &Guard::watch_item, py::arg("holder"), py::arg("key"), py::arg("value"))
      .def("watch_tensor", &Guard::watch_tensor, py::arg("holder"), py::arg("key"), py::arg("tensor"))
      .def("watch_size", &Guard::watch_size, py::arg("holder"))
      .def("changed", &Guard::changed)
      .def("holds", &Guard::holds);
}

}  // namespace pycnn
