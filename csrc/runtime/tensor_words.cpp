#include "runtime/tensor_words.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <optional>
#include <vector>

namespace py = pybind11;

namespace pycnn {
namespace {

constexpr int kObjectBytes = 48, kTensorBytes = 160, kPartBytes = 24;  // searched: sizes that no release went below

struct Sample {
  const char *object, *tensor;
  uint32_t version;
  const char* data;
  int64_t offset;
};

Sample sample_of(py::handle tensor) {
  const auto number = [&](const char* name) { return tensor.attr(name)().cast<int64_t>(); };
  const auto data = tensor.attr("untyped_storage")().attr("data_ptr")().cast<uintptr_t>();
  return {reinterpret_cast<const char*>(tensor.ptr()),
          reinterpret_cast<const char*>(tensor.attr("_cdata").cast<uintptr_t>()),
          tensor.attr("_version").cast<uint32_t>(), reinterpret_cast<const char*>(data), number("storage_offset")};
}

template <class T>
T load_as(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Whether kPartBytes at an address may be read: it is aligned, and its page mapped.
bool readable(const char* address) {
  const auto at = reinterpret_cast<uintptr_t>(address), page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  if (at % 8 != 0 || at < page || at >> 47 != 0) return false;
  unsigned char resident[2];
  const uintptr_t first = at / page * page, end = at + kPartBytes;
  return mincore(reinterpret_cast<void*>(first), end - first, resident) == 0;
}

// The one offset below `bytes`, in steps of `step`, at which all samples agree.
std::optional<int> only(int bytes, int step, const std::function<bool(int)>& agree) {
  std::optional<int> found;
  for (int at = 0; at + step <= bytes; at += step) {
    if (!agree(at)) continue;
    if (found) return std::nullopt;
    found = at;
  }
  return found;
}

struct Pair {
  int outer, inner;
};

// The one pair of offsets at which `right` holds in what a word of every sample's tensor points to.
std::optional<Pair> only_behind(const std::vector<Sample>& samples, int step,
                                const std::function<bool(const Sample&, const char*)>& right) {
  std::optional<Pair> found;
  for (int outer = 0; outer + 8 <= kTensorBytes; outer += 8) {
    bool all = true;
    for (const Sample& s : samples) all = all && readable(load_as<const char*>(s.tensor + outer));
    if (!all) continue;
    for (int inner = 0; inner + step <= kPartBytes; inner += step) {
      bool agree = true;
      for (const Sample& s : samples) agree = agree && right(s, load_as<const char*>(s.tensor + outer) + inner);
      if (!agree) continue;
      if (found) return std::nullopt;
      found = Pair{outer, inner};
    }
  }
  return found;
}

struct Learnt {
  std::optional<TensorWords> words;
  std::vector<py::object> types;
};

Learnt& learnt() {
  static Learnt& state = *new Learnt;  // outlives the interpreter
  return state;
}

}  // namespace

bool TensorWords::learn_from(const py::list& tensors) {
  std::vector<Sample> samples;
  for (const py::handle& tensor : tensors) samples.push_back(sample_of(tensor));
  const auto every = [&](const auto& right) {
    for (const Sample& s : samples)
      if (!right(s)) return false;
    return !samples.empty();
  };
  const auto impl = only(kObjectBytes, 8, [&](int at) {
    return every([at](const Sample& s) { return word(s.object + at) == s.tensor; });
  });
  const auto offset = only(kTensorBytes, 8, [&](int at) {
    return every([at](const Sample& s) { return load_as<int64_t>(s.tensor + at) == s.offset; });
  });
  const auto version =
      only_behind(samples, 4, [](const Sample& s, const char* at) { return load_as<uint32_t>(at) == s.version; });
  const auto data =
      only_behind(samples, 8, [](const Sample& s, const char* at) { return load_as<const char*>(at) == s.data; });
  if (!impl || !offset || !version || !data) return false;
  impl_ = *impl, offset_ = *offset;
  counter_ = version->outer, version_ = version->inner, storage_ = data->outer, data_ = data->inner;
  return true;
}

bool TensorWords::learn(const py::list& samples, const py::tuple& types) {
  TensorWords words;
  if (learnt().words) return true;
  if (!words.learn_from(samples)) return false;
  learnt().words = words;
  for (const py::handle& type : types) learnt().types.push_back(py::reinterpret_borrow<py::object>(type));
  return true;
}

const TensorWords* TensorWords::find(PyObject* object) {
  const Learnt& state = learnt();
  if (!state.words) return nullptr;
  for (const py::object& type : state.types)
    if (reinterpret_cast<PyObject*>(Py_TYPE(object)) == type.ptr()) return &*state.words;
  return nullptr;
}

std::array<const char*, 6> TensorWords::touched(PyObject* object) const {
  const char* const at = reinterpret_cast<const char*>(object) + impl_;
  const char* const impl = word(at);
  const char *const counter = word(impl + counter_), *const storage = word(impl + storage_);
  return {at, impl + counter_, impl + storage_, impl + offset_, counter ? counter + version_ : at, storage + data_};
}

}  // namespace pycnn
