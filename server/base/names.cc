#include "server/base/names.h"

#include <algorithm>
#include <string>

namespace hydrad {
namespace {

constexpr size_t kMaxTenantName = 128, kMaxAdapterName = 256;

bool IsPlain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

bool IsPart(std::string_view part) {
  const auto allowed = [](char c) { return IsPlain(c) || c == '+' || c == '@' || c == ':'; };
  return !part.empty() && part.front() != '.' && std::ranges::all_of(part, allowed);
}

}  // namespace

bool IsTenantName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxTenantName && name.front() != '.' &&
         std::ranges::all_of(name, IsPlain);
}

bool IsAdapterName(std::string_view name) {
  if (name.size() > kMaxAdapterName) return false;
  while (true) {
    const size_t slash = name.find('/');
    if (!IsPart(name.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    name.remove_prefix(slash + 1);
  }
}

bool IsAdapterPattern(std::string_view pattern) {
  if (!pattern.ends_with('*')) return IsAdapterName(pattern);
  pattern.remove_suffix(1);
  return IsAdapterName(std::string(pattern) + "x");  // some name begins like this
}

}  // namespace hydrad
