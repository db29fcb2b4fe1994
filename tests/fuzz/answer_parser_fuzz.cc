// A format, three lengths and what a model says: however it is cut, the events are those of the whole, they
// restore it byte by byte, and each call has a beginning, arguments and an end, in this order.
#include <string>
#include <string_view>
#include <vector>

#include "server/base/check.h"
#include "server/base/json.h"
#include "tests/text/answer_cuts.h"

namespace hydrad {
namespace {

// Each call's events stand together, and one whose arguments are JSON has been called.
void CheckCalls(const ParsedAnswer& parsed) {
  using Kind = AnswerEvent::Kind;
  int calls = 0;
  bool open = false, complete = false;
  std::string arguments;
  for (const AnswerEvent& event : parsed.events) {
    if (event.kind == Kind::kCallBegins) {
      HYDRAD_CHECK(!open && event.call == calls && !event.name.empty());
      open = true;
      arguments.clear();
    } else if (event.kind == Kind::kArguments) {
      HYDRAD_CHECK(open && event.call == calls && !event.text.empty());
      arguments += event.text;
    } else if (event.kind == Kind::kCallEnds) {
      HYDRAD_CHECK(open && event.call == calls && arguments.starts_with('{'));
      const absl::StatusOr<Json> json = ParseJson(arguments);
      complete |= json.ok();
      HYDRAD_CHECK(!json.ok() || json->is_object());
      open = false;
      ++calls;
    } else {
      HYDRAD_CHECK(!event.text.empty() && (!open || event.kind == Kind::kMarkup));
    }
  }
  HYDRAD_CHECK(!open && (!complete || parsed.called) && (calls > 0 || !parsed.called));
}

void CheckAnswer(const uint8_t* data, size_t size) {
  if (size < 4) return;
  AnswerParser::Options options;
  options.tools = static_cast<ToolFormat>(data[0] % 4);
  options.reasoning = data[0] / 4 % 4 != 3;
  if (data[0] / 4 % 2 == 1) options.left_open = &KnownReasoning()[data[0] / 16 % 2];
  const std::string_view text(reinterpret_cast<const char*>(data) + 4, size - 4);
  const ParsedAnswer whole = ParseCut(options, text, {});
  HYDRAD_CHECK(Restored(whole.events) == text);
  CheckCalls(whole);
  std::vector<size_t> cuts;
  for (size_t at = 0, i = 0; (at += data[1 + i % 3] % 32 + 1) < text.size(); ++i) cuts.push_back(at);
  HYDRAD_CHECK(ParseCut(options, text, cuts) == whole);
  HYDRAD_CHECK(ParseCut(options, text, EveryByte(text)) == whole);
}

}  // namespace
}  // namespace hydrad

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hydrad::CheckAnswer(data, size);
  return 0;
}
