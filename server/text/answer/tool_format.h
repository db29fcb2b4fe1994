// The ways in which families of models write that they call functions.
#ifndef HYDRAD_SERVER_TEXT_ANSWER_TOOL_FORMAT_H_
#define HYDRAD_SERVER_TEXT_ANSWER_TOOL_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace hydrad {

enum class ToolFormat : uint8_t {
  kNone,        // calls are not looked for
  kHermes,      // <tool_call>{"name": ..., "arguments": ...}</tool_call>, anywhere (Hermes, Qwen 2.5 and 3)
  kLlama3Json,  // {"name": ..., "parameters": ...}; ...   at the very beginning, or behind <|python_tag|>
  kMistral      // [TOOL_CALLS] [{"name": ..., "arguments": ...}, ...] or [TOOL_CALLS]name[ARGS]{...}
};

// The name that --tool-parser has for it: "none", "hermes", "llama3_json", "mistral".
std::string_view Name(ToolFormat format);
std::optional<ToolFormat> ToolFormatNamed(std::string_view name);

// The format of the models that have this chat template (its source), by the markers that it writes; kNone
// where it writes none that is known.
ToolFormat ToolFormatOf(std::string_view chat_template);

// What stands around calls in a format. An object of a call is what CallReader reads.
struct ToolSyntax {
  std::string_view marker;     // calls begin behind it; "": there are none
  std::string_view separator;  // between two calls, without the marker again; "": nothing is
  std::string_view closer;     // behind the last call, where it is not left out; "": nothing is
  bool without_marker;         // the marker may be left out at the very beginning
  bool listed;                 // the calls are in brackets, or each has its name before it
};
const ToolSyntax& SyntaxOf(ToolFormat format);

// The two markers around what a model thinks before it answers.
struct ReasoningMarkers {
  std::string_view open, close;
};
// Those that are known, <think> and [THINK].
const std::vector<ReasoningMarkers>& KnownReasoning();
// The markers that a prompt has left open at its end, so that the answer begins inside them; null: none.
const ReasoningMarkers* LeftOpenBy(std::string_view prompt);

// Every marker of the format and of reasoning. Where one of them is a special token of the tokenizer it must
// stay in the text that AnswerParser gets.
std::vector<std::string_view> MarkersOf(ToolFormat format);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_ANSWER_TOOL_FORMAT_H_
