// Params structs by the names of their fields, for Python.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace pycnn {

struct ParamsType {
  std::vector<std::string> fields;
  std::shared_ptr<void> (*make_params)();
  void (*set)(void* params, const std::string& field, double value);  // std::invalid_argument: no such field
};

template <class P>
ParamsType params_type() {
  ParamsType type;
  P defaults;
  visit_fields(defaults, [&](const char* field, auto&) { type.fields.emplace_back(field); });
  type.make_params = []() -> std::shared_ptr<void> { return std::make_shared<P>(); };
  type.set = [](void* params, const std::string& field, double value) {
    bool found = false;
    visit_fields(*static_cast<P*>(params), [&](const char* candidate, auto& slot) {
      if (field != candidate) return;
      found = true;
      slot = static_cast<std::decay_t<decltype(slot)>>(value);
    });
    if (!found) throw std::invalid_argument("no parameter named '" + field + "'");
  };
  return type;
}

}  // namespace pycnn
