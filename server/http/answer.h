// The answer to one request of HTTP, which may hold several prompts: whole, or as a stream of events.
#ifndef HYDRAD_SERVER_HTTP_ANSWER_H_
#define HYDRAD_SERVER_HTTP_ANSWER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/json.h"
#include "server/base/mutex.h"
#include "server/http/answer_shape.h"
#include "server/http/completion_call.h"  // AnswerWishes
#include "server/http/error_answer.h"     // BodyNames
#include "server/http/reply.h"

namespace hydrad {

// Gathers what the requests of all prompts give, and tells the reply. When all have ended well the answer
// ends; the first that fails ends it, and `cancel` is called to end the others. Thread-safe: sinks are called
// by the delivery's thread, but the end of a request that was never started comes from whoever starts it.
class Answer : public std::enable_shared_from_this<Answer> {
 public:
  struct Options {
    AnswerWishes wishes;
    int64_t created = 0;             // now, in seconds since 1970
    BodyNames names{};               // in errors
    std::function<void()> cancel{};  // ends the requests
  };
  // One shape for each prompt, at least one.
  Answer(Options options, std::vector<std::unique_ptr<AnswerShape>> shapes, std::shared_ptr<Reply> reply);

  // What the output of the request of a prompt goes to.
  std::shared_ptr<TokenSink> SinkFor(size_t prompt, AnswerHead head);
  // The answer cannot be given.
  void Fail(const absl::Status& status);

 private:
  class Sink;
  struct Part {
    std::unique_ptr<AnswerShape> shape;
    AnswerHead head{};
    OutputStart start{};  // without log-probabilities
    Usage usage{};
    bool begun = false, done = false;
  };

  void OnStart(size_t prompt, OutputStart start);
  bool OnPiece(size_t prompt, const OutputPiece& piece);
  void OnDone(size_t prompt, const absl::Status& status, const Usage& usage);

  bool Send(std::string_view choices) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool Charge(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void End() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Envelope(std::string_view choices, bool last) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string UsageText() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string OwnText() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  const std::shared_ptr<Reply> reply_;
  Mutex mu_;
  std::vector<Part> parts_ ABSL_GUARDED_BY(mu_);
  std::string head_
      ABSL_GUARDED_BY(mu_);  // of every object: id to model; "" before the first request is known
  size_t charged_ ABSL_GUARDED_BY(mu_) = 0;  // for the choices of a whole answer
  bool over_ ABSL_GUARDED_BY(mu_) = false;
};

// The "hydrad" object of one request's answer: what it was served with and what that took.
Json OwnObject(const AnswerHead& head, const OutputStart& start, const Usage& usage);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_ANSWER_H_
