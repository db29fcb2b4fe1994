// Forms of answers, compiled by xgrammar's library. Only for a process of its own (grammar_worker.h): what a
// form makes the library do may take forever, or all memory, and nothing here prevents it.
#ifndef HYDRAD_SERVER_TEXT_GRAMMAR_H_
#define HYDRAD_SERVER_TEXT_GRAMMAR_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/answer_form.h"
#include "server/text/xgrammar.h"

namespace hydrad {

// What a tokenizer's tokens stand for.
struct Vocabulary {
  std::vector<std::string> tokens;  // by id, their bytes; "" for those that no form may have
  std::vector<int32_t> end_tokens;  // end an answer; at least one
  std::vector<int32_t> control;     // those with control characters other than line feeds
  int size() const { return static_cast<int>(tokens.size()); }
};

// Which tokens may come next in one answer.
class GrammarMatcher {
 public:
  // Sets bit `t % 32` of word `t / 32` if token t may come next, and clears the others. INVALID_ARGUMENT when
  // none may. With `json`, tokens with control characters other than line feeds are left out: the library
  // takes them in strings, where JSON has none. REQUIRES: mask has a bit for every token; not terminated.
  absl::Status FillMask(std::span<uint32_t> mask, bool json);
  // Goes on behind `token`. INTERNAL, with nothing changed, for one that may not come next.
  absl::Status Accept(int32_t token);
  // An end token was accepted.
  bool terminated() const { return terminated_; }

 private:
  friend class GrammarCompiler;
  GrammarMatcher(const Xgrammar& library, const Vocabulary& vocabulary, FfiValue matcher)
      : library_(&library), vocabulary_(&vocabulary), matcher_(std::move(matcher)) {}

  const Xgrammar* library_;
  const Vocabulary* vocabulary_;
  FfiValue matcher_;
  bool terminated_ = false;
};

// Compiles for one vocabulary. One thread at a time; must outlive what it makes.
class GrammarCompiler {
 public:
  // Errors are those of Xgrammar::Open.
  static absl::StatusOr<std::unique_ptr<GrammarCompiler>> Open(const std::string& directory,
                                                               Vocabulary vocabulary);

  // INVALID_ARGUMENT, saying what is wrong, for a form that is broken or beyond what the library supports.
  absl::StatusOr<FfiValue> Compile(const AnswerForm& form) const;
  absl::StatusOr<GrammarMatcher> Start(const FfiValue& compiled) const;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  GrammarCompiler(std::unique_ptr<const Xgrammar> library, Vocabulary vocabulary)
      : library_(std::move(library)), vocabulary_(std::move(vocabulary)) {}
  absl::Status MakeCompiler();
  absl::StatusOr<FfiValue> CompileSchema(std::string_view schema, bool strict) const;

  const std::unique_ptr<const Xgrammar> library_;
  const Vocabulary vocabulary_;
  FfiValue compiler_;  // constant after Open
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_GRAMMAR_H_
