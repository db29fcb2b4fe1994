#include "server/http/answer_shape.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "server/http/json_text.h"

namespace hydrad {
namespace {

size_t Characters(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void Separate(std::string* list) {
  if (!list->empty()) list->push_back(',');
}

}  // namespace

std::string_view FinishText(const OutputPiece& piece) {
  if (!piece.finished) return "null";
  return piece.reason == FinishReason::kLength ? "\"length\"" : "\"stop\"";
}

void CompletionLogprobs::Add(std::string_view token, const Sampled* sampled, const TokenWriter& writer,
                             size_t* offset) {
  for (std::string* list : {&tokens_, &logprobs_, &top_, &offsets_}) Separate(list);
  const std::string text = TokenText(token);
  AppendQuoted(text, &tokens_);
  offsets_ += std::to_string(*offset);
  *offset += Characters(text);
  if (sampled == nullptr) {
    logprobs_ += "null";
    top_ += "null";
    return;
  }
  AppendNumber(sampled->logprob, &logprobs_);
  top_ += '{';
  std::set<std::string> names;  // two tokens may write the same
  for (const TokenLogprob& likely : sampled->top) {
    const std::string name = TokenText(writer(likely.token));
    if (!names.insert(name).second) continue;
    if (names.size() > 1) top_ += ',';
    AppendQuoted(name, &top_);
    top_ += ':';
    AppendNumber(likely.logprob, &top_);
  }
  top_ += '}';
}

std::string CompletionLogprobs::Take() {
  std::string out =
      fmt::format(R"({{"tokens":[{}],"token_logprobs":[{}],"top_logprobs":[{}],"text_offset":[{}]}})",
                  tokens_, logprobs_, top_, offsets_);
  *this = {};
  return out;
}

TokenWriter WriterOf(std::shared_ptr<const AdapterTokens> tokens) {
  return [tokens = std::move(tokens)](int32_t token) { return tokens->tokenizer->TokenBytes(token); };
}

void CompletionShape::Begin(const AnswerHead& head, const OutputStart& start, int first_index) {
  if (head.tokens != nullptr) writer_ = WriterOf(head.tokens);
  first_index_ = first_index;
  prompt_ = head.echo;
  first_token_ = head.first_token;
  if (echo_) prompt_logprobs_ = start.prompt_logprobs;
  choices_.resize(static_cast<size_t>(head.choices));
}

void CompletionShape::Take(const OutputPiece& piece, Choice* choice) {
  if (!std::exchange(choice->begun, true)) {
    choice->text += prompt_;
    if (logprobs_ && echo_) {
      choice->logprobs.Add(writer_(first_token_), nullptr, writer_, &choice->offset);
      for (const Sampled& token : prompt_logprobs_)
        choice->logprobs.Add(writer_(token.token), &token, writer_, &choice->offset);
    }
  }
  choice->text += piece.text;
  for (const Sampled& token : piece.logprobs)
    choice->logprobs.Add(writer_(token.token), &token, writer_, &choice->offset);
  choice->finish = FinishText(piece);
}

std::string CompletionShape::ObjectOf(size_t index, Choice& choice) {
  std::string out;
  out.reserve(choice.text.size() + choice.logprobs.bytes() + 128);
  fmt::format_to(std::back_inserter(out), R"({{"index":{},"text":)", first_index_ + static_cast<int>(index));
  AppendQuoted(choice.text, &out);
  out += R"(,"logprobs":)";
  out += logprobs_ ? choice.logprobs.Take() : "null";
  out += R"(,"finish_reason":)";
  out += choice.finish;
  out += '}';
  choice.text.clear();
  return out;
}

std::string CompletionShape::Delta(const OutputPiece& piece) {
  Choice& choice = choices_[static_cast<size_t>(piece.choice)];
  Take(piece, &choice);
  return ObjectOf(static_cast<size_t>(piece.choice), choice);
}

size_t CompletionShape::Add(const OutputPiece& piece) {
  Choice& choice = choices_[static_cast<size_t>(piece.choice)];
  const size_t before = choice.text.size() + choice.logprobs.bytes();
  Take(piece, &choice);
  return choice.text.size() + choice.logprobs.bytes() - before;
}

std::string CompletionShape::Choices() {
  std::string out;
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (i > 0) out += ',';
    out += ObjectOf(i, choices_[i]);
  }
  return out;
}

}  // namespace hydrad
