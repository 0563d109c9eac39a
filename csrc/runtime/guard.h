// Notices that a live model changed: a tensor, submodule or attribute replaced, added or removed, a tensor edited in place
// or given new storage, a hook set.
#pragma once
#include <pybind11/pybind11.h>

#include <unordered_map>
#include <vector>

#include "runtime/tensor_words.h"

namespace pycnn {

class Guard {
 public:
  // holder[key] must stay `value`.
  void watch_item(pybind11::dict holder, pybind11::str key, pybind11::object value);
  // ... and, for a tensor, its _version and data_ptr() must stay what they are now.
  void watch_tensor(pybind11::dict holder, pybind11::str key, pybind11::object tensor);
  // `holder` must keep its number of entries.
  void watch_size(pybind11::dict holder);

  // Indices, in the order of the watch_ calls, of what changed; empty: nothing.
  std::vector<int> changed() const;
  // The same as a yes or no, stopping at the first.
  bool holds() const;

 private:
  struct Item {
    pybind11::dict holder;
    pybind11::str key;
    pybind11::object value;  // null: the holder's number of entries
    Py_ssize_t size;
  };
  // The items of one dict, which need a look only when its stamp is another than when they were last right.
  struct Holder {
    PyObject* dict;  // kept alive by its items
    std::vector<size_t> items;
    mutable uint64_t stamp = 0;
  };
  // How a type's `_version` and `data_ptr()` are read without a lookup by name; null: by name.
  struct Getters {
    const PyGetSetDef* version = nullptr;
    PyCFunction pointer = nullptr;
  };
  struct Tensor {
    PyObject* object;  // kept alive by its item
    size_t item;
    const TensorWords* words;  // null: as the getters say
    TensorWords::Values values;
    Getters getters;
    long long version;
    long long pointer;
    size_t lines;  // end, in lines_, of what reading it touches
  };

  size_t watch(Item item);
  bool there(const Item& item) const;
  bool there(const Holder& holder) const;
  void note_lines(const Tensor& tensor);
  static const TensorWords* words_of(PyObject* tensor, long long version, long long pointer);
  static bool same(const Tensor& tensor);
  static Getters getters_of(PyTypeObject* type);
  static long long version_of(PyObject* tensor, const Getters& getters);
  static long long pointer_of(PyObject* tensor, const Getters& getters);

  std::vector<Item> items_;
  std::vector<Holder> holders_;
  std::unordered_map<PyObject*, size_t> numbers_;  // of a dict in holders_
  std::vector<Tensor> tensors_;
  std::vector<const char*> lines_;  // addresses to ask for; that they are still right is not needed
};

void bind_guard(pybind11::module_& m);

}  // namespace pycnn
