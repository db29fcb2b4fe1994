#include "server/text/answer/tool_format.h"

#include <array>

namespace hydrad {
namespace {

struct Row {
  std::string_view name;
  ToolSyntax syntax;
};

// By ToolFormat.
constexpr std::array<Row, 4> kFormats = {{
    {"none", {"", "", "", false, false}},
    {"hermes", {"<tool_call>", "", "</tool_call>", false, false}},
    {"llama3_json", {"<|python_tag|>", ";", "", true, false}},
    {"mistral", {"[TOOL_CALLS]", ",", "]", false, true}},
}};

const Row& RowOf(ToolFormat format) { return kFormats[static_cast<size_t>(format)]; }

constexpr std::string_view kSpace = " \t\r\n";

}  // namespace

std::string_view Name(ToolFormat format) { return RowOf(format).name; }

std::optional<ToolFormat> ToolFormatNamed(std::string_view name) {
  for (size_t i = 0; i < kFormats.size(); ++i) {
    if (kFormats[i].name == name) return static_cast<ToolFormat>(i);
  }
  return std::nullopt;
}

ToolFormat ToolFormatOf(std::string_view chat_template) {
  const auto writes = [&](std::string_view text) {
    return chat_template.find(text) != std::string_view::npos;
  };
  // Others put no JSON behind the same marker.
  if (writes("<tool_call>") && !writes("<function=") && !writes("<arg_key>")) return ToolFormat::kHermes;
  if (writes("[TOOL_CALLS]")) return ToolFormat::kMistral;
  if (writes("<|python_tag|>") || (writes("<|start_header_id|>") && writes("\"parameters\": ")))
    return ToolFormat::kLlama3Json;
  return ToolFormat::kNone;
}

const ToolSyntax& SyntaxOf(ToolFormat format) { return RowOf(format).syntax; }

const std::vector<ReasoningMarkers>& KnownReasoning() {
  static const std::vector<ReasoningMarkers> known = {{"<think>", "</think>"}, {"[THINK]", "[/THINK]"}};
  return known;
}

const ReasoningMarkers* LeftOpenBy(std::string_view prompt) {
  const size_t end = prompt.find_last_not_of(kSpace);
  if (end == std::string_view::npos) return nullptr;
  prompt = prompt.substr(0, end + 1);
  for (const ReasoningMarkers& markers : KnownReasoning()) {
    if (prompt.ends_with(markers.open)) return &markers;
  }
  return nullptr;
}

std::vector<std::string_view> MarkersOf(ToolFormat format) {
  std::vector<std::string_view> markers;
  for (const ReasoningMarkers& reasoning : KnownReasoning()) {
    markers.push_back(reasoning.open);
    markers.push_back(reasoning.close);
  }
  const ToolSyntax& syntax = SyntaxOf(format);
  if (!syntax.marker.empty()) markers.push_back(syntax.marker);
  if (syntax.closer.size() > 1) markers.push_back(syntax.closer);
  if (syntax.listed) markers.insert(markers.end(), {"[ARGS]", "[CALL_ID]"});
  return markers;
}

}  // namespace hydrad
