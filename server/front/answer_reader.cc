#include "server/front/answer_reader.h"

#include <utility>

namespace hydrad {

AnswerParser::Options AnswerOptions(const ChatPrompt& chat, std::optional<ToolFormat> chosen,
                                    std::string_view chat_template, std::string_view prompt,
                                    uint64_t id_seed) {
  AnswerParser::Options options;
  if (!chat.tools.empty()) options.tools = chosen ? *chosen : ToolFormatOf(chat_template);
  options.left_open = LeftOpenBy(prompt);
  options.id_seed = id_seed;
  return options;
}

std::vector<int32_t> MarkerTokens(const Tokenizer& tokenizer, const AnswerParser::Options& options) {
  std::vector<int32_t> tokens;
  for (const std::string_view marker : MarkersOf(options.tools)) {
    if (const int32_t id = tokenizer.TokenId(marker); id >= 0) tokens.push_back(id);
  }
  return tokens;
}

AnswerReader::AnswerReader(const AnswerParser::Options& options, int choices) {
  AnswerParser::Options of_choice = options;
  for (int i = 0; i < choices; ++i) {
    parsers_.emplace_back(of_choice);
    ++of_choice.id_seed;
  }
}

std::vector<AnswerEvent> AnswerReader::Read(const OutputPiece& piece) {
  AnswerParser& parser = parsers_[static_cast<size_t>(piece.choice)];
  std::vector<AnswerEvent> events;
  parser.Add(piece.text, &events);
  if (piece.finished) parser.Finish(&events);
  std::erase_if(events, [](const AnswerEvent& event) { return event.kind == AnswerEvent::Kind::kMarkup; });
  return events;
}

bool AnswerReader::StopsForCalls(const OutputPiece& last) const {
  return parsers_[static_cast<size_t>(last.choice)].called() && last.reason != FinishReason::kLength;
}

}  // namespace hydrad
