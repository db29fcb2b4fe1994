// What the choices of a chat completion look like in JSON.
#ifndef HYDRAD_SERVER_HTTP_CHAT_SHAPE_H_
#define HYDRAD_SERVER_HTTP_CHAT_SHAPE_H_

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/front/answer_reader.h"
#include "server/http/answer_shape.h"

namespace hydrad {

// A message of the assistant for each choice: its content, apart from that what it thought before
// ("reasoning_content"), and the functions that it calls.
class ChatShape final : public AnswerShape {
 public:
  // `logprobs`: each token's are told. The writer must outlive this.
  ChatShape(bool logprobs, TokenWriter writer) : logprobs_(logprobs), writer_(std::move(writer)) {}

  std::string_view id_prefix() const override { return "chatcmpl-"; }
  std::string_view object(bool stream) const override {
    return stream ? "chat.completion.chunk" : "chat.completion";
  }
  void Begin(const AnswerHead& head, const OutputStart& start, int first_index) override;
  std::string First() override;
  std::string Delta(const OutputPiece& piece) override;
  size_t Add(const OutputPiece& piece) override;
  std::string Choices() override;

 private:
  struct Call {
    std::string id, name, arguments;
  };
  struct Choice {
    std::string content, reasoning, logprobs;
    std::vector<Call> calls;
    std::string finish = "null";
  };
  std::vector<AnswerEvent> Read(const OutputPiece& piece);
  std::string FinishOf(const OutputPiece& piece) const;
  std::string LogprobsOf(const OutputPiece& piece) const;
  std::string Message(const Choice& choice) const;

  const bool logprobs_;
  TokenWriter writer_;
  std::optional<AnswerReader> reader_;  // of an answer that is taken apart
  std::vector<Choice> choices_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_CHAT_SHAPE_H_
