#include "base/machine.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>

namespace pycnn {
namespace {

Isa detect_isa() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    return Isa::kAvx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"))
    return Isa::kAvx2;
#endif
  return Isa::kBaseline;
}

// AMD's split them up to family 25 (Zen 4); Intel's that have AVX-512 do not.
bool has_whole_avx512(Isa hardware) {
#if defined(__x86_64__)
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (hardware < Isa::kAvx512 || !__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
  const unsigned family = (eax >> 8 & 15) + (eax >> 20 & 255);
  return !__builtin_cpu_is("amd") || family > 25;
#else
  (void)hardware;
  return false;
#endif
}

bool has_bf16_products(Isa hardware) {
#if defined(__x86_64__)
  return hardware >= Isa::kAvx512 && __builtin_cpu_supports("avx512bf16");
#else
  (void)hardware;
  return false;
#endif
}

Isa forced_isa(Isa hardware) {
  const char* text = std::getenv("PYCNN_ISA");
  if (text == nullptr || *text == '\0') return hardware;
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512}) {
    if (std::string(text) != isa_name(isa)) continue;
    if (isa > hardware)
      throw std::runtime_error("PYCNN_ISA=" + std::string(text) + ": this machine has only " + isa_name(hardware));
    return isa;
  }
  throw std::runtime_error("PYCNN_ISA=" + std::string(text) + " is not one of baseline, avx2, avx512");
}

// CPU time a period of the cgroup, rounded up to cores; 0: no quota. cgroup v2 first, then v1.
int quota_cores() {
  double quota = 0, period = 0;
  std::string text;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> text >> period && text != "max") {
    quota = std::atof(text.c_str());
  } else {
    std::ifstream q("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), p("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    if (!(q >> quota) || !(p >> period)) return 0;
  }
  if (quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>((quota + period - 1) / period));
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores =
      sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  if (const int quota = quota_cores(); quota > 0) cores = std::min(cores, quota);
  return std::max(1, cores);
}

// Bytes of the data or unified cache of `level` that the first core sees; 0 where Linux does not say. Before sysconf,
// whose level 3 is ten times too large on some virtual machines (glibc counts the host's cores).
int64_t listed_cache_bytes(int level) {
  for (int i = 0; i < 8; ++i) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    std::ifstream level_file(folder + "level"), type_file(folder + "type"), size_file(folder + "size");
    int found = 0;
    std::string type, unit;
    int64_t size = 0;
    if (!(level_file >> found) || !(type_file >> type) || !(size_file >> size)) continue;
    if (found != level || type == "Instruction") continue;
    size_file >> unit;
    return size * (unit == "M" ? 1 << 20 : unit == "K" ? 1 << 10 : 1);
  }
  return 0;
}

int64_t cache_bytes(int level, int name, int64_t fallback) {
  if (const int64_t listed = listed_cache_bytes(level); listed > 0) return listed;
  const long size = sysconf(name);
  return size > 0 ? size : fallback;
}

Machine detect() {
  Machine m;
  m.hardware = detect_isa();
  m.isa = forced_isa(m.hardware);
  m.whole_avx512 = has_whole_avx512(m.hardware);
  m.bf16_products = has_bf16_products(m.hardware);
  m.cores = usable_cores();
#if defined(_SC_LEVEL2_CACHE_SIZE)
  m.l2_bytes = cache_bytes(2, _SC_LEVEL2_CACHE_SIZE, m.l2_bytes);
  m.l3_bytes = cache_bytes(3, _SC_LEVEL3_CACHE_SIZE, m.l3_bytes);
#endif
  return m;
}

}  // namespace

const Machine& machine() {
  static const Machine instance = detect();
  return instance;
}

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    default:
      return "baseline";
  }
}

}  // namespace pycnn
