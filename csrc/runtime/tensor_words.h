// What tells whether a tensor is as it was, read where this process's torch keeps it. torch's getters say the same and take
// ten times as long, behind a call, whose plan has driven them and all they touch out of the caches, three times; for
// reading it in C++ a build would be for one torch. So the places are found by experiment: in samples whose versions,
// addresses and offsets are known, each must be in exactly one.
#pragma once
#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>

namespace pycnn {

class TensorWords {
 public:
  static constexpr uint32_t kNoVersion = ~uint32_t{0};  // of a tensor made in inference mode

  struct Values {
    uint32_t version;
    uintptr_t data;  // of the storage
    int64_t offset;  // elements in it
    bool operator==(const Values& other) const {
      return version == other.version && data == other.data && offset == other.offset;
    }
  };

  // Finds the places in samples of torch.Tensor, each with a version of its own; whether each is in exactly one. From then
  // on find() has them, for objects of the types given.
  static bool learn(const pybind11::list& samples, const pybind11::tuple& types);
  // null: not learnt, or the object's type is another.
  static const TensorWords* find(PyObject* object);

  Values read(PyObject* object) const {
    const char* const impl = word(reinterpret_cast<const char*>(object) + impl_);
    const char *const counter = word(impl + counter_), *const storage = word(impl + storage_);
    return {counter ? *reinterpret_cast<const uint32_t*>(counter + version_) : kNoVersion,
            reinterpret_cast<uintptr_t>(word(storage + data_)), *reinterpret_cast<const int64_t*>(impl + offset_)};
  }
  // The addresses that read() loads from.
  std::array<const char*, 6> touched(PyObject* object) const;

 private:
  static const char* word(const char* at) { return *reinterpret_cast<const char* const*>(at); }
  bool learn_from(const pybind11::list& samples);

  // Offsets in bytes: of torch's tensor in Python's; of counter, storage and element offset in torch's; in those two.
  int impl_ = 0, counter_ = 0, storage_ = 0, offset_ = 0, version_ = 0, data_ = 0;
};

}  // namespace pycnn
