#include "core/findings.h"

#include <cstdio>
#include <mutex>
#include <utility>

namespace ptxsim {
namespace {

constexpr size_t kKept = 200;

struct State {
  std::mutex mutex;
  std::vector<std::string> messages;
  size_t count = 0;
  bool print = true;
};

State& Get() {
  static State* state = new State;  // outlives every static object that may report
  return *state;
}

}  // namespace

void AddFinding(const std::string& message) {
  State& s = Get();
  std::lock_guard lock(s.mutex);
  if (s.print && s.count < kKept) std::fprintf(stderr, "ptxsim: %s\n", message.c_str());
  if (s.count++ < kKept) s.messages.push_back(message);
}

size_t FindingCount() {
  State& s = Get();
  std::lock_guard lock(s.mutex);
  return s.count;
}

std::vector<std::string> TakeFindings() {
  State& s = Get();
  std::lock_guard lock(s.mutex);
  s.count = 0;
  return std::exchange(s.messages, {});
}

std::string FindingAt(size_t index) {
  State& s = Get();
  std::lock_guard lock(s.mutex);
  return index < s.messages.size() ? s.messages[index] : "";
}

void SetPrintFindings(bool print) {
  std::lock_guard lock(Get().mutex);
  Get().print = print;
}

}  // namespace ptxsim
