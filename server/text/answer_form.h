// The form that an answer must have, and what says which tokens may come next for it to get there.
#ifndef HYDRAD_SERVER_TEXT_ANSWER_FORM_H_
#define HYDRAD_SERVER_TEXT_ANSWER_FORM_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <compare>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/clock.h"

namespace hydrad {

struct AnswerForm {
  enum class Kind {
    kJsonObject,  // any JSON object; `text` is empty
    kJsonSchema,  // a JSON value of the schema in `text`; objects have no properties that it does not name
    kRegex,       // the whole answer matches `text`
    kChoice,      // one of `choices`
    kEbnf,        // what the rule `root` of the grammar in `text` derives (GBNF, as of llama.cpp)
  };
  Kind kind = Kind::kJsonObject;
  std::string text;
  std::vector<std::string> choices;

  friend auto operator<=>(const AnswerForm&, const AnswerForm&) = default;
};

// Which tokens may come next in one answer: end tokens exactly where it may end. It takes its time: after it
// is made, and after every Accept, the mask is there a moment later. One thread at a time.
class AnswerMatcher {
 public:
  virtual ~AnswerMatcher() = default;
  // Whether the mask, or the reason why there is none, is there; waits for it until `limit` at most.
  virtual bool Ready(TimePoint limit) = 0;
  // Bit t % 32 of word t / 32 says whether token t may come next; at least one may. Holds until the next
  // Accept. RESOURCE_EXHAUSTED when that took longer, or more memory, than is given; INVALID_ARGUMENT when
  // the form leaves no token. REQUIRES: Ready() has been true since the last Accept.
  virtual absl::StatusOr<std::span<const uint32_t>> Mask() const = 0;
  // Goes on behind `token`, which is no end token. REQUIRES: the mask is OK and allows it.
  virtual void Accept(int32_t token) = 0;
};

// A form for the served vocabulary. Thread-safe.
class AnswerGrammar {
 public:
  virtual ~AnswerGrammar() = default;
  // A matcher at the beginning of a request's `choice`-th answer, from 0. It may outlive the grammar.
  virtual std::unique_ptr<AnswerMatcher> Start(int choice) = 0;
};

// Compiles forms. Thread-safe.
class AnswerForms {
 public:
  virtual ~AnswerForms() = default;
  // The form for the served vocabulary; one that the same tenant asked for lately is there at once.
  // INVALID_ARGUMENT, with a text that continues the form's name, for one that is broken, beyond what is
  // supported, or takes longer or more memory to compile than is given; RESOURCE_EXHAUSTED when too many are
  // in use. Takes milliseconds to seconds.
  virtual absl::StatusOr<std::shared_ptr<AnswerGrammar>> Compile(std::string_view tenant,
                                                                 const AnswerForm& form) = 0;
};

// The longest text of a form, all its choices together.
inline constexpr size_t kMaxFormBytes = 64 << 10;

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_ANSWER_FORM_H_
