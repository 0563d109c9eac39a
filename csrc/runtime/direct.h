// Calls of an optimised module with one plain tensor, from Python to its plan without Python between.
#pragma once
#include <pybind11/pybind11.h>

namespace pycnn {

void bind_direct(pybind11::module_& m);

}  // namespace pycnn
