// A pattern, a zero byte and a text: whatever compiles must find matches that ascend, do not overlap and do
// not cut characters.
#include <string>
#include <string_view>

#include "server/base/check.h"
#include "server/text/tokenizer/regex.h"
#include "server/text/tokenizer/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  if (zero == input.npos || zero > 300) return 0;
  const auto regex = hydrad::Regex::Compile(hydrad::RepairUtf8(input.substr(0, zero)));
  if (!regex.ok()) return 0;
  const std::string text = hydrad::RepairUtf8(input.substr(zero + 1, 100));
  hydrad::RegexMatcher matcher(*regex);
  matcher.Start(text);
  size_t done = 0;
  for (size_t begin = 0, end = 0; matcher.Next(&begin, &end); done = end) {
    HYDRAD_CHECK(done <= begin && begin <= end && end <= text.size());
    HYDRAD_CHECK(hydrad::IsUtf8(std::string_view(text).substr(begin, end - begin)));
    HYDRAD_CHECK(hydrad::IsUtf8(std::string_view(text).substr(0, begin)));
  }
  return 0;
}
