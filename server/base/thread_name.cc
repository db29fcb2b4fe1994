#include "server/base/thread_name.h"

#include <pthread.h>
#include <signal.h>

#include <memory>

namespace hydrad {
namespace {

// For the handlers of signals. Lives as long as its thread.
class SecondStack {
 public:
  SecondStack() {
    stack_t stack{};
    stack.ss_sp = bytes_.get();
    stack.ss_size = kSize;
    sigaltstack(&stack, nullptr);
  }
  ~SecondStack() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
  }

 private:
  static constexpr size_t kSize = 128 << 10;  // the registers of a wide vector unit alone take 11 KiB
  const std::unique_ptr<char[]> bytes_ = std::make_unique<char[]>(kSize);
};

}  // namespace

void NameThisThread(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
  static thread_local const SecondStack stack;
}

}  // namespace hydrad
