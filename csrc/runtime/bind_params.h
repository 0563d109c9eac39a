// What Python hands to plans and kernels: dicts of numbers, tuples that name slots, addresses.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "runtime/params.h"
#include "runtime/slot.h"

namespace pycnn {

namespace py = pybind11;

using SlotTuple = py::tuple;

inline std::shared_ptr<void> read_params(const ParamsType& type, const py::dict& values) {
  auto params = type.make_params();
  for (const auto& [key, value] : values) type.set(params.get(), py::cast<std::string>(key), py::cast<double>(value));
  return params;
}

inline Slot read_slot(const SlotTuple& tuple) {
  static const std::pair<const char*, Slot::Kind> kinds[] = {{"none", Slot::kNone},
                                                             {"arena", Slot::kArena},
                                                             {"const", Slot::kConst},
                                                             {"input", Slot::kInput},
                                                             {"output", Slot::kOutput}};
  const auto name = py::cast<std::string>(tuple[0]);
  for (const auto& [text, kind] : kinds)
    if (name == text) {
      const auto number = [&](size_t i) { return i < tuple.size() ? py::cast<int64_t>(tuple[i]) : 0; };
      return {kind, number(1), number(2), number(3), number(4)};
    }
  throw py::value_error("unknown slot kind '" + name + "'");
}

template <class T>
T* address(uintptr_t value) {
  return reinterpret_cast<T*>(value);
}

using Addresses = std::vector<uintptr_t>;

}  // namespace pycnn
