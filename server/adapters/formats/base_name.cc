#include "server/adapters/formats/base_name.h"

#include <algorithm>

namespace hydrad {
namespace {

// Takes what stands behind the last `mark` off `text`, and the mark.
std::string_view TakeLast(std::string_view mark, std::string_view* text) {
  const size_t at = text->rfind(mark);
  const std::string_view last = at == text->npos ? *text : text->substr(at + mark.size());
  *text = at == text->npos ? std::string_view() : text->substr(0, at);
  return last;
}

}  // namespace

std::string BaseName(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  std::string_view rest = path, last = TakeLast("/", &rest);
  constexpr std::string_view kSnapshots = "/snapshots";
  if (rest.ends_with(kSnapshots)) {
    rest.remove_suffix(kSnapshots.size());
    last = TakeLast("/", &rest);
  }
  if (last.starts_with("models--")) last = TakeLast("--", &last);
  std::string name;
  for (const char c : last) {
    if (c >= 'A' && c <= 'Z') name += static_cast<char>(c | 0x20);
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) name += c;
  }
  return name;
}

bool IsNameOf(const std::vector<std::string>& names, std::string_view told) {
  const std::string name = BaseName(told);
  if (name.empty() || names.empty()) return true;
  return std::ranges::any_of(names, [&](const std::string& known) { return BaseName(known) == name; });
}

}  // namespace hydrad
