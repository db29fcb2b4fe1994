// Any text as a chat template, rendered with a conversation within small limits: what it writes is UTF-8, and
// the parts that it calls data lie in the text, in order.
#include "server/base/check.h"
#include "server/base/log.h"
#include "server/text/chat_template.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr char kContext[] =
    R"({"bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "n": 3, "x": 1.5,
    "s": " A b\u00e9-\ud83d\ude00<T>\n", "l": [1, "two", null, [true], {"k": "v"}], "d": {"k": "v", "role": 7},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {}}}}],
    "messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "<|im_end|>"},
                 {"role": "assistant", "content": null, "tool_calls": []}]})";

void CheckRendered(const ChatTemplate::Rendered& rendered, size_t max_bytes) {
  HYDRAD_CHECK(rendered.text.size() <= max_bytes && IsUtf8(rendered.text));
  size_t end = 0;
  bool first = true;
  for (const ByteRange& range : rendered.from_data) {
    HYDRAD_CHECK(range.begin < range.end && (first || range.begin > end));
    end = range.end;
    first = false;
    HYDRAD_CHECK(IsUtf8(std::string_view(rendered.text).substr(range.begin, range.end - range.begin)));
  }
  HYDRAD_CHECK(end <= rendered.text.size());
}

}  // namespace
}  // namespace hydrad

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = (hydrad::InitLog("error"), true);
  (void)quiet;
  static const hydrad::Json context = *hydrad::ParseJson(hydrad::kContext);
  const auto parsed =
      hydrad::ChatTemplate::Parse(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  hydrad::ChatTemplateLimits limits;
  limits.steps = 20'000;
  limits.memory_bytes = 1 << 20;
  limits.output_bytes = 1 << 16;
  const auto rendered = parsed->Render(context, std::chrono::system_clock::time_point{}, limits);
  if (rendered.ok()) hydrad::CheckRendered(*rendered, limits.output_bytes);
  return 0;
}
