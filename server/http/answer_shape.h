// What the choices of an answer look like in JSON: those of completions here, those of chat in chat_shape.h.
#ifndef HYDRAD_SERVER_HTTP_ANSWER_SHAPE_H_
#define HYDRAD_SERVER_HTTP_ANSWER_SHAPE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/front/make_request.h"  // AnswerHead
#include "server/scheduler/token_sink.h"

namespace hydrad {

// What a token writes (Tokenizer::TokenBytes).
using TokenWriter = std::function<std::string(int32_t token)>;

// What the tokens of an adapter write, which brings some. REQUIRES: it does.
TokenWriter WriterOf(std::shared_ptr<const AdapterTokens> tokens);

// Makes JSON of the pieces of one request's choices, as they come or all at once. One thread at a time.
class AnswerShape {
 public:
  virtual ~AnswerShape() = default;
  virtual std::string_view id_prefix() const = 0;
  virtual std::string_view object(bool stream) const = 0;

  // What is known before the first piece. `choices` stand from `first_index` on in the answer.
  virtual void Begin(const AnswerHead& head, const OutputStart& start, int first_index) = 0;
  // Of a stream: the choice objects of one event with commas between them, for the start and for a piece; ""
  // if there is nothing to tell.
  virtual std::string First() = 0;
  virtual std::string Delta(const OutputPiece& piece) = 0;
  // Of a whole answer: takes a piece, and returns how many bytes more it keeps; then all choice objects.
  virtual size_t Add(const OutputPiece& piece) = 0;
  virtual std::string Choices() = 0;
};

// "stop" or "length" in quotation marks; "null" for a piece that is not the last.
std::string_view FinishText(const OutputPiece& piece);

// The log-probabilities of OpenAI's completions: four lists side by side.
class CompletionLogprobs {
 public:
  // Appends a token; `sampled` null: the first of a prompt, which has no probability. `offset` counts the
  // characters of the choice's text.
  void Add(std::string_view token, const Sampled* sampled, const TokenWriter& writer, size_t* offset);
  size_t bytes() const { return tokens_.size() + logprobs_.size() + top_.size() + offsets_.size(); }
  // {"tokens": [...], ...}, and empties the lists.
  std::string Take();

 private:
  std::string tokens_, logprobs_, top_, offsets_;
};

class CompletionShape final : public AnswerShape {
 public:
  // `logprobs`: each token's are told; `echo`: so are the prompt's. The writer must outlive this.
  CompletionShape(bool logprobs, bool echo, TokenWriter writer)
      : logprobs_(logprobs), echo_(echo), writer_(std::move(writer)) {}

  std::string_view id_prefix() const override { return "cmpl-"; }
  std::string_view object(bool) const override { return "text_completion"; }
  void Begin(const AnswerHead& head, const OutputStart& start, int first_index) override;
  std::string First() override { return ""; }
  std::string Delta(const OutputPiece& piece) override;
  size_t Add(const OutputPiece& piece) override;
  std::string Choices() override;

 private:
  struct Choice {
    bool begun = false;
    std::string text;
    CompletionLogprobs logprobs;
    size_t offset = 0;  // characters so far
    std::string_view finish = "null";
  };
  void Take(const OutputPiece& piece, Choice* choice);
  std::string ObjectOf(size_t index, Choice& choice);

  const bool logprobs_, echo_;
  TokenWriter writer_;
  int first_index_ = 0;
  std::string prompt_;  // its text, where it is repeated
  int32_t first_token_ = -1;
  std::vector<Sampled> prompt_logprobs_;
  std::vector<Choice> choices_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_ANSWER_SHAPE_H_
