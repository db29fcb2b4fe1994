// Structured output, as the daemon has it: forms are compiled, and masks made, by processes of their own
// (grammar_worker.h), so that a hostile form costs only itself.
#ifndef HYDRAD_SERVER_TEXT_GRAMMAR_SERVICE_H_
#define HYDRAD_SERVER_TEXT_GRAMMAR_SERVICE_H_

#include <absl/status/statusor.h>
#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "server/base/file_descriptor.h"
#include "server/base/mutex.h"
#include "server/text/answer_form.h"
#include "server/text/grammar_worker.h"
#include "server/text/tokenizer.h"

namespace hydrad {

struct GrammarOptions {
  std::string program;    // hydrad-grammar
  std::string directory;  // of xgrammar's library (xgrammar.h)
  GrammarLimits limits;
  int max_processes = 64;         // forms at a time; more are refused
  size_t kept_bytes = 256 << 20;  // of forms that nobody uses just now; as few as none are kept
  size_t kept_forms = 16;         // likewise
};

class GrammarService final : public AnswerForms {
 public:
  // Starts the main process, and waits until it is ready, which takes a tenth of a second. `vocab_size` is
  // the model's, which may be more than the tokenizer's. NOT_FOUND when the program or the library is not
  // there; FAILED_PRECONDITION when it is of another version, or `end_tokens` is empty.
  static absl::StatusOr<std::unique_ptr<GrammarService>> Open(const GrammarOptions& options,
                                                              const Tokenizer& tokenizer, int vocab_size,
                                                              std::span<const int32_t> end_tokens);
  // Ends the main process and waits for it. Those of forms end with what was made of them.
  ~GrammarService() override;

  absl::StatusOr<std::shared_ptr<AnswerGrammar>> Compile(std::string_view tenant,
                                                         const AnswerForm& form) override;

 private:
  class Form;
  class Matcher;
  using Key = std::pair<std::string, AnswerForm>;  // tenant
  struct Kept {
    std::shared_ptr<Form> form;
    std::list<const Key*>::iterator use;
  };

  GrammarService(const GrammarOptions& options, std::string vocabulary, int vocab_size)
      : options_(options), vocabulary_(std::move(vocabulary)), vocab_size_(vocab_size) {}
  absl::Status StartProcess() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EndProcess() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Returns the main process that has been sent it.
  absl::StatusOr<pid_t> Send(std::string_view form, int socket);
  // The process takes no more forms: the next one is sent to a new one.
  void LeaveProcess(pid_t process);
  absl::StatusOr<std::shared_ptr<Form>> CompileNow(const AnswerForm& form);
  std::shared_ptr<Form> Find(const Key& key);
  void Keep(const Key& key, std::shared_ptr<Form> form);
  void Drop(std::map<Key, Kept>::iterator kept) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const GrammarOptions options_;
  const std::string vocabulary_;
  const int vocab_size_;
  const std::shared_ptr<std::atomic<int>> processes_ = std::make_shared<std::atomic<int>>(0);  // of forms

  Mutex mu_;
  pid_t process_ ABSL_GUARDED_BY(mu_) = -1;
  FileDescriptor socket_ ABSL_GUARDED_BY(mu_);  // to the main process
  std::map<Key, Kept> kept_ ABSL_GUARDED_BY(mu_);
  std::list<const Key*> uses_ ABSL_GUARDED_BY(mu_);  // of kept_, the latest first
  size_t kept_bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

// Where the program and the library of an installed or built daemon are: beside the program that runs, and in
// ../lib/xgrammar.
GrammarOptions DefaultGrammarOptions();

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_GRAMMAR_SERVICE_H_
