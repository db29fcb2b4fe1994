#include "server/http/chat_shape.h"

#include <fmt/format.h>

#include <iterator>

#include "server/http/json_text.h"

namespace hydrad {
namespace {

using Kind = AnswerEvent::Kind;

void Separate(std::string* list) {
  if (!list->empty()) list->push_back(',');
}

// `"token": ..., "logprob": ..., "bytes": [...]` of one token.
void AppendToken(std::string_view bytes, float logprob, std::string* out) {
  out->append(R"("token":)");
  AppendQuoted(TokenText(bytes), out);
  out->append(R"(,"logprob":)");
  AppendNumber(logprob, out);
  out->append(R"(,"bytes":[)");
  for (size_t i = 0; i < bytes.size(); ++i) {
    fmt::format_to(std::back_inserter(*out), "{}{}", i == 0 ? "" : ",", static_cast<unsigned char>(bytes[i]));
  }
  out->push_back(']');
}

// What one piece adds to a message, in the form of a stream.
struct Difference {
  std::string content, reasoning, calls;

  void Add(const AnswerEvent& event) {
    switch (event.kind) {
      case Kind::kContent:
        content += event.text;
        break;
      case Kind::kReasoning:
        reasoning += event.text;
        break;
      case Kind::kCallBegins:
        Separate(&calls);
        fmt::format_to(std::back_inserter(calls),
                       R"({{"index":{},"id":{},"type":"function","function":{{"name":{},"arguments":""}}}})",
                       event.call, Quoted(event.id), Quoted(event.name));
        break;
      case Kind::kArguments:
        Separate(&calls);
        fmt::format_to(std::back_inserter(calls), R"({{"index":{},"function":{{"arguments":{}}}}})",
                       event.call, Quoted(event.text));
        break;
      case Kind::kCallEnds:
      case Kind::kMarkup:
        break;
    }
  }
  bool empty() const { return content.empty() && reasoning.empty() && calls.empty(); }
  std::string Text() const {
    std::string fields;
    if (!reasoning.empty()) fields += R"("reasoning_content":)" + Quoted(reasoning);
    if (!content.empty()) {
      Separate(&fields);
      fields += R"("content":)";
      AppendQuoted(content, &fields);
    }
    if (!calls.empty()) {
      Separate(&fields);
      fields += R"("tool_calls":[)" + calls + "]";
    }
    return "{" + fields + "}";
  }
};

}  // namespace

void ChatShape::Begin(const AnswerHead& head, const OutputStart&, int) {
  if (head.tokens != nullptr) writer_ = WriterOf(head.tokens);
  choices_.resize(static_cast<size_t>(head.choices));
  if (head.answer) reader_.emplace(*head.answer, head.choices);
}

std::string ChatShape::First() {
  std::string out;
  for (size_t i = 0; i < choices_.size(); ++i) {
    Separate(&out);
    fmt::format_to(
        std::back_inserter(out),
        R"({{"index":{},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}})",
        i);
  }
  return out;
}

std::vector<AnswerEvent> ChatShape::Read(const OutputPiece& piece) {
  if (reader_) return reader_->Read(piece);
  std::vector<AnswerEvent> events;
  if (!piece.text.empty()) events.push_back({.kind = Kind::kContent, .text = piece.text});
  return events;
}

std::string ChatShape::FinishOf(const OutputPiece& piece) const {
  if (!piece.finished || !reader_) return std::string(FinishText(piece));
  return Quoted(reader_->FinishReasonOf(piece));
}

std::string ChatShape::LogprobsOf(const OutputPiece& piece) const {
  std::string out;
  for (const Sampled& token : piece.logprobs) {
    Separate(&out);
    out += '{';
    AppendToken(writer_(token.token), token.logprob, &out);
    out += R"(,"top_logprobs":[)";
    for (size_t i = 0; i < token.top.size(); ++i) {
      out += i == 0 ? "{" : ",{";
      AppendToken(writer_(token.top[i].token), token.top[i].logprob, &out);
      out += '}';
    }
    out += "]}";
  }
  return out;
}

std::string ChatShape::Delta(const OutputPiece& piece) {
  Difference difference;
  for (const AnswerEvent& event : Read(piece)) difference.Add(event);
  const std::string logprobs = logprobs_ ? LogprobsOf(piece) : "";
  if (difference.empty() && logprobs.empty() && !piece.finished) return "";
  return fmt::format(
      R"({{"index":{},"delta":{},"logprobs":{},"finish_reason":{}}})", piece.choice, difference.Text(),
      logprobs.empty() ? "null" : R"({"content":[)" + logprobs + R"(],"refusal":null})", FinishOf(piece));
}

size_t ChatShape::Add(const OutputPiece& piece) {
  Choice& choice = choices_[static_cast<size_t>(piece.choice)];
  size_t bytes = 0;
  for (AnswerEvent& event : Read(piece)) {
    bytes += event.text.size();
    if (event.kind == Kind::kContent) choice.content += event.text;
    if (event.kind == Kind::kReasoning) choice.reasoning += event.text;
    if (event.kind == Kind::kCallBegins) {
      choice.calls.push_back({std::move(event.id), std::move(event.name), ""});
      bytes += sizeof(Call);
    }
    if (event.kind == Kind::kArguments) choice.calls[static_cast<size_t>(event.call)].arguments += event.text;
  }
  if (logprobs_ && !piece.logprobs.empty()) {
    const std::string more = LogprobsOf(piece);
    Separate(&choice.logprobs);
    choice.logprobs += more;
    bytes += more.size() + 1;
  }
  choice.finish = FinishOf(piece);
  return bytes;
}

std::string ChatShape::Message(const Choice& choice) const {
  std::string out = R"({"role":"assistant","content":)";
  out += choice.content.empty() && !choice.calls.empty() ? "null" : Quoted(choice.content);
  out += R"(,"refusal":null)";
  if (!choice.reasoning.empty()) out += R"(,"reasoning_content":)" + Quoted(choice.reasoning);
  std::string calls;
  for (const Call& call : choice.calls) {
    Separate(&calls);
    fmt::format_to(std::back_inserter(calls),
                   R"({{"id":{},"type":"function","function":{{"name":{},"arguments":{}}}}})",
                   Quoted(call.id), Quoted(call.name), Quoted(call.arguments));
  }
  if (!calls.empty()) out += R"(,"tool_calls":[)" + calls + "]";
  return out + "}";
}

std::string ChatShape::Choices() {
  std::string out;
  for (size_t i = 0; i < choices_.size(); ++i) {
    const Choice& choice = choices_[i];
    Separate(&out);
    fmt::format_to(std::back_inserter(out), R"({{"index":{},"message":{},"logprobs":{},"finish_reason":{}}})",
                   i, Message(choice),
                   logprobs_ ? R"({"content":[)" + choice.logprobs + R"(],"refusal":null})" : "null",
                   choice.finish);
  }
  return out;
}

}  // namespace hydrad
