// Notices that a live model changed: a tensor or submodule replaced, edited in place, given new storage, a training flag
// switched, a hook set. What Python would need 10 us for on 100 parameters takes about 1.
#pragma once
#include <pybind11/pybind11.h>

#include <vector>

namespace pycnn {

class Guard {
 public:
  // holder[key] must stay `value`.
  void watch_item(pybind11::dict holder, pybind11::str key, pybind11::object value);
  // ... and, for a tensor, its _version and data_ptr() must stay what they are now.
  void watch_tensor(pybind11::dict holder, pybind11::str key, pybind11::object tensor);
  // `holder` must stay empty.
  void watch_empty(pybind11::dict holder);

  // Indices, in the order of the watch_ calls, of what changed; empty: nothing.
  std::vector<int> changed() const;
  // The same as a yes or no, stopping at the first.
  bool holds() const;

 private:
  // How a type's `_version` and `data_ptr()` are read without a lookup by name; null: by name.
  struct Getters {
    const PyGetSetDef* version = nullptr;
    PyCFunction pointer = nullptr;
  };
  struct Item {
    pybind11::dict holder;
    pybind11::str key;
    pybind11::object value;
    enum { kSame, kTensor, kEmpty } kind;
    long long version;
    long long pointer;
    Getters getters;
  };
  static bool same(const Item& item);
  static void fetch(const Item& item);
  static void fetch_behind(const Item& item);
  static Getters getters_of(PyTypeObject* type);
  static long long version_of(PyObject* tensor, const Getters& getters);
  static long long pointer_of(PyObject* tensor, const Getters& getters);
  std::vector<Item> items_;
};

void bind_guard(pybind11::module_& m);

}  // namespace pycnn
