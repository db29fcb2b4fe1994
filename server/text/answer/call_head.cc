#include "server/text/answer/call_head.h"

namespace hydrad {
namespace {

bool IsNameCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '-';
}

std::string_view TakeName(std::string_view* text) {
  size_t length = 0;
  while (length < text->size() && IsNameCharacter((*text)[length])) ++length;
  const std::string_view name = text->substr(0, length);
  text->remove_prefix(length);
  return name;
}

bool Skip(std::string_view marker, std::string_view* text) {
  if (!text->starts_with(marker)) return false;
  text->remove_prefix(marker.size());
  return true;
}

}  // namespace

CallHead ReadCallHead(std::string_view text) {
  using Progress = CallHead::Progress;
  if (text.size() > kMaxCallHeadBytes) return {};
  const std::string_view name = TakeName(&text);
  if (name.empty()) return {};
  constexpr std::string_view kId = "[CALL_ID]", kArguments = "[ARGS]";
  if (kId.starts_with(text)) return {Progress::kMore, name};
  if (Skip(kId, &text)) TakeName(&text);
  if (kArguments.starts_with(text)) return {Progress::kMore, name};
  Skip(kArguments, &text);
  while (!text.empty() && (text.front() == ' ' || text.front() == '\n')) text.remove_prefix(1);
  if (text.empty()) return {Progress::kMore, name};
  return {text == "{" ? Progress::kComplete : Progress::kNone, name};
}

}  // namespace hydrad
