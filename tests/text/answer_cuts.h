// Answers fed to the parser in pieces.
#ifndef HYDRAD_TESTS_TEXT_ANSWER_CUTS_H_
#define HYDRAD_TESTS_TEXT_ANSWER_CUTS_H_

#include <string>
#include <string_view>
#include <vector>

#include "server/text/answer_parser.h"

namespace hydrad {

struct ParsedAnswer {
  std::vector<AnswerEvent> events;  // neighbours of one kind are joined
  bool called = false;

  bool operator==(const ParsedAnswer&) const = default;
};

// Cuts `text` at `cuts`, which ascend.
inline ParsedAnswer ParseCut(const AnswerParser::Options& options, std::string_view text,
                             const std::vector<size_t>& cuts) {
  AnswerParser parser(options);
  ParsedAnswer parsed;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    parser.Add(text.substr(begin, cut - begin), &parsed.events);
    begin = cut;
  }
  parser.Add(text.substr(begin), &parsed.events);
  parser.Finish(&parsed.events);
  parsed.called = parser.called();
  return parsed;
}

inline std::vector<size_t> EveryByte(std::string_view text) {
  std::vector<size_t> cuts;
  for (size_t i = 1; i < text.size(); ++i) cuts.push_back(i);
  return cuts;
}

// What the events say that the answer was.
inline std::string Restored(const std::vector<AnswerEvent>& events) {
  std::string text;
  for (const AnswerEvent& event : events) {
    if (!event.restated) text += event.text;
  }
  return text;
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_TEXT_ANSWER_CUTS_H_
