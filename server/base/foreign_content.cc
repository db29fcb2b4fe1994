#include "server/base/foreign_content.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace hydrad {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kMagics = {{
    {"version https://git-lfs.github.com/",
     "is a git-lfs pointer, not the file itself: fetch it with 'git lfs pull'"},
    {"version https://hawser.github.com/",
     "is a git-lfs pointer, not the file itself: fetch it with 'git lfs pull'"},
    {"GGUF", "is a GGUF file: 'hydrad-tools model import' makes a model directory of one"},
    {"PK\x03\x04", "is a pickle of torch in a zip, which is never opened: convert it to safetensors"},
    {"\x80\x02\x8a\x0al\xfc", "is a pickle of torch, which is never opened: convert it to safetensors"},
    {"\x93NUMPY", "is a NumPy array, not safetensors"},
}};

// Of a page, in lower case and behind white space.
constexpr std::array<std::string_view, 5> kPages = {"<!doctype", "<html", "<?xml", "<head", "<!--"};

}  // namespace

std::string_view ForeignContent(std::string_view begin) {
  if (begin.size() > 8 && begin[8] == '{') return {};  // safetensors, whose first bytes are a length
  for (const auto& [magic, text] : kMagics) {
    if (begin.starts_with(magic)) return text;
  }
  begin = begin.substr(0, kForeignContentBytes);
  if (begin.starts_with("\xef\xbb\xbf")) begin.remove_prefix(3);
  begin.remove_prefix(std::min(begin.size(), begin.find_first_not_of(" \t\r\n")));
  std::string lower(begin.substr(0, 16));
  std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; });
  for (const std::string_view page : kPages) {
    if (lower.starts_with(page)) {
      return "is an HTML page, which a download leaves that was refused or led elsewhere: fetch it again";
    }
  }
  return {};
}

}  // namespace hydrad
