#include "server/text/tokenizer/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <span>
#include <vector>

#include "server/base/check.h"
#include "server/text/tokenizer/unicode_tables.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

bool InRanges(std::span<const CodePointRange> ranges, uint32_t c) {
  auto it = std::upper_bound(ranges.begin(), ranges.end(), c,
                             [](uint32_t value, const CodePointRange& range) { return value < range.first; });
  return it != ranges.begin() && c <= std::prev(it)->last;
}

int Options(NormalForm form) {
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const bool compat = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  return UTF8PROC_STABLE | (compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compat ? UTF8PROC_COMPAT : 0);
}

int CombiningClass(int32_t c) { return utf8proc_get_property(c)->combining_class; }

// Puts every run of combining marks into canonical order. utf8proc's own ordering is quadratic in the run.
void OrderMarks(std::vector<int32_t>& chars) {
  for (auto it = chars.begin(); it != chars.end();) {
    it = std::find_if(it, chars.end(), [](int32_t c) { return CombiningClass(c) != 0; });
    auto end = std::find_if(it, chars.end(), [](int32_t c) { return CombiningClass(c) == 0; });
    std::stable_sort(it, end, [](int32_t a, int32_t b) { return CombiningClass(a) < CombiningClass(b); });
    it = end;
  }
}

// Collects characters between two that nothing can combine with or move across, and normalises them at once.
class Segment {
 public:
  Segment(NormalForm form, std::string* out) : options_(Options(form)), out_(out) {}

  bool empty() const { return chars_.empty(); }

  void Add(uint32_t c) {
    constexpr int kLongestDecomposition = 32;  // U+FDFA takes 18
    const size_t size = chars_.size();
    chars_.resize(size + kLongestDecomposition);
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<int32_t>(c), chars_.data() + size, kLongestDecomposition,
                                static_cast<utf8proc_option_t>(options_), &boundary);
    HYDRAD_CHECK(count >= 0 && count <= kLongestDecomposition);
    chars_.resize(size + static_cast<size_t>(count));
  }

  void Flush() {
    if (chars_.empty()) return;
    OrderMarks(chars_);
    const auto count = utf8proc_normalize_utf32(chars_.data(), static_cast<utf8proc_ssize_t>(chars_.size()),
                                                static_cast<utf8proc_option_t>(options_));
    HYDRAD_CHECK(count >= 0);
    for (int i = 0; i < count; ++i) AppendUtf8(static_cast<uint32_t>(chars_[i]), out_);
    chars_.clear();
  }

 private:
  const int options_;
  std::string* const out_;
  std::vector<int32_t> chars_;
};

}  // namespace

bool IsWhiteSpace(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool IsNumeric(uint32_t c) {
  if (c < 0x80) return c >= '0' && c <= '9';
  return InRanges(NumericRanges(), c);
}

bool IsWordChar(uint32_t c) { return InRanges(WordRanges(), c); }

std::string ToNormalForm(std::string_view text, NormalForm form) {
  // Below this every character is its own normal form, and stays so unless a later mark joins it.
  const uint32_t plain_end = form == NormalForm::kNfc ? 0x300 : 0x80;
  std::string out;
  out.reserve(text.size());
  Segment segment(form, &out);
  size_t plain = 0;  // start of plain text not yet written; its last character may still be joined
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const uint32_t c = NextCodePoint(text, &pos);
    if (c < plain_end) {
      if (!segment.empty()) {
        segment.Flush();
        plain = begin;
      }
      continue;
    }
    if (segment.empty()) {
      size_t base = begin;
      while (base > plain && (static_cast<uint8_t>(text[--base]) & 0xc0) == 0x80) {
      }
      out.append(text.substr(plain, base - plain));
      if (base < begin) segment.Add(NextCodePoint(text, &base));
    }
    if (InRanges(NormalizationInertRanges(), c)) {
      segment.Flush();
      out.append(text.substr(begin, pos - begin));
    } else {
      segment.Add(c);
    }
    plain = pos;
  }
  segment.Flush();
  return out.append(text.substr(plain));
}

std::string ToLowerCase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const uint32_t c = NextCodePoint(text, &pos);
    if (c == 0x130) {  // the only one whose lower case is two characters
      out.append("i\u0307");
      continue;
    }
    const auto added = LowerCaseAdditions();
    auto it = std::lower_bound(added.begin(), added.end(), c,
                               [](const LowerCase& entry, uint32_t value) { return entry.upper < value; });
    AppendUtf8(it != added.end() && it->upper == c
                   ? it->lower
                   : static_cast<uint32_t>(utf8proc_tolower(static_cast<int32_t>(c))),
               &out);
  }
  return out;
}

}  // namespace hydrad
