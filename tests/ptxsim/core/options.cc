#include "core/options.h"

#include <cstdlib>
#include <cstring>

namespace ptxsim {
namespace {

template <class T>
void FromEnvironment(const char* name, T* value) {
  if (const char* text = std::getenv(name)) *value = static_cast<T>(std::strtoull(text, nullptr, 0));
}

Options FromEnvironment() {
  Options o;
  if (const char* text = std::getenv("PTXSIM_CHECKS")) {
    o.checks = !std::strcmp(text, "off")      ? Checks::kOff
               : !std::strcmp(text, "bounds") ? Checks::kBounds
                                              : Checks::kFull;
  }
  if (const char* text = std::getenv("PTXSIM_STREAMS")) o.lazy_streams = std::strcmp(text, "eager") != 0;
  if (const char* text = std::getenv("PTXSIM_REPORT")) o.report = text, o.count = true;
  if (const char* text = std::getenv("PTXSIM_FAIL")) o.fail = text;
  if (const char* text = std::getenv("PTXSIM_FAIL_FILE")) o.fail_file = text;
  FromEnvironment("PTXSIM_SCHEDULE", &o.schedule);
  FromEnvironment("PTXSIM_THREADS", &o.threads);
  FromEnvironment("PTXSIM_BLOCK_LIMIT", &o.block_limit);
  FromEnvironment("PTXSIM_MEMORY", &o.device_bytes);
  FromEnvironment("PTXSIM_SMS", &o.multiprocessors);
  FromEnvironment("PTXSIM_ARCH", &o.compute_capability);
  return o;
}

}  // namespace

Options& GetOptions() {
  static Options* options = new Options(FromEnvironment());
  return *options;
}

}  // namespace ptxsim
