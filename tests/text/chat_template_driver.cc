// Answers compare_chat_templates.py: renders what comes on standard input, a JSON object on each line.
//   {"template": source, "context": {...}, "now": seconds}  ->  {"text": ..., "data": [[begin, end], ...]}
//                                                               or {"refused": error, "at": "parse" or
//                                                               "render"}
#include <iostream>
#include <string>

#include "server/base/json.h"
#include "server/text/chat_template.h"

namespace hydrad {
namespace {

Json Refusal(const absl::Status& status, const char* at) {
  return {{"refused", std::string(status.message())}, {"at", at}};
}

Json Answer(const Json& question) {
  const auto parsed = ChatTemplate::Parse(question["template"].get<std::string>());
  if (!parsed.ok()) return Refusal(parsed.status(), "parse");
  const std::chrono::system_clock::time_point now{std::chrono::seconds(question.value("now", int64_t{0}))};
  const auto rendered = parsed->Render(question["context"], now);
  if (!rendered.ok()) return Refusal(rendered.status(), "render");
  Json data = Json::array();
  for (const ByteRange& range : rendered->from_data) data.push_back({range.begin, range.end});
  return {{"text", rendered->text}, {"data", data}};
}

}  // namespace
}  // namespace hydrad

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << hydrad::Answer(hydrad::Json::parse(line)).dump() << "\n";
  }
  return 0;
}
