#include "server/text/jinja/letter_case.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "server/text/jinja/letter_case_table.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

struct CodePoints {
  uint32_t first, last;
};

template <size_t kCount>
bool InRanges(const CodePoints (&ranges)[kCount], uint32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const CodePoints& range) { return range.first <= c && c <= range.last; });
}

// Lower case though they are no lower-case letters (Other_Lowercase).
constexpr CodePoints kOtherLower[] = {
    {0xaa, 0xaa},       {0xba, 0xba},       {0x2b0, 0x2b8},     {0x2c0, 0x2c1},    {0x2e0, 0x2e4},
    {0x345, 0x345},     {0x37a, 0x37a},     {0x1d2c, 0x1d6a},   {0x1d78, 0x1d78},  {0x1d9b, 0x1dbf},
    {0x2071, 0x2071},   {0x207f, 0x207f},   {0x2090, 0x209c},   {0x2170, 0x217f},  {0x24d0, 0x24e9},
    {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},   {0xa7f8, 0xa7f9},  {0xab5c, 0xab5f},
    {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}};
// The same for upper case (Other_Uppercase).
constexpr CodePoints kOtherUpper[] = {
    {0x2160, 0x216f}, {0x24b6, 0x24cf}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};
// Digits that are no decimal digits (Numeric_Type=Digit).
constexpr CodePoints kOtherDigits[] = {
    {0xb2, 0xb3},     {0xb9, 0xb9},       {0x1369, 0x1371},   {0x19da, 0x19da},   {0x2070, 0x2070},
    {0x2074, 0x2079}, {0x2080, 0x2089},   {0x2460, 0x2468},   {0x2474, 0x247c},   {0x2488, 0x2490},
    {0x24ea, 0x24ea}, {0x24f5, 0x24fd},   {0x24ff, 0x24ff},   {0x2776, 0x277e},   {0x2780, 0x2788},
    {0x278a, 0x2792}, {0x10a40, 0x10a43}, {0x10e60, 0x10e68}, {0x11052, 0x1105a}, {0x1f100, 0x1f10a}};

utf8proc_category_t Category(uint32_t c) { return utf8proc_category(static_cast<utf8proc_int32_t>(c)); }
bool IsLowerLetter(uint32_t c) { return Category(c) == UTF8PROC_CATEGORY_LL || InRanges(kOtherLower, c); }

const LongCase* FindLongCase(uint32_t c) {
  const auto found =
      std::lower_bound(std::begin(kLongCases), std::end(kLongCases), c,
                       [](const LongCase& row, uint32_t letter) { return row.letter < letter; });
  return found != std::end(kLongCases) && found->letter == c ? found : nullptr;
}

// Characters that do not count when the end of a word is looked for.
bool IsCaseIgnorable(uint32_t c) {
  switch (Category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      break;
  }
  for (const uint32_t other : {0x27u, 0x2eu, 0x3au, 0xb7u, 0x387u, 0x55fu, 0x5f4u, 0x2018u, 0x2019u, 0x2024u,
                               0x2027u, 0xfe13u, 0xfe52u, 0xfe55u, 0xff07u, 0xff0eu, 0xff1au}) {
    if (c == other) return true;
  }
  return false;
}

// Whether the sigma at [begin, end) ends a word: a cased letter stands before it and none behind.
bool EndsWord(std::string_view text, size_t begin, size_t end) {
  bool before = false;
  for (std::string_view front = text.substr(0, begin); !front.empty();) {
    const uint32_t c = LastCodePoint(front);
    front.remove_suffix(c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
    if (IsCaseIgnorable(c)) continue;
    before = IsCased(c);
    break;
  }
  for (size_t pos = end; before && pos < text.size();) {
    const uint32_t c = NextCodePoint(text, &pos);
    if (!IsCaseIgnorable(c)) return !IsCased(c);
  }
  return before;
}

std::string Folded(std::string_view character) {
  utf8proc_uint8_t* folded = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(character.data()),
                                 static_cast<utf8proc_ssize_t>(character.size()), &folded, UTF8PROC_CASEFOLD);
  std::string out = size < 0 ? std::string(character)
                             : std::string(reinterpret_cast<const char*>(folded), static_cast<size_t>(size));
  std::free(folded);
  return out;
}

std::string InCase(std::string_view text, size_t begin, size_t end, uint32_t c, LetterCase letter_case) {
  std::string out;
  const auto simple = static_cast<utf8proc_int32_t>(c);
  if (letter_case == LetterCase::kFold) return Folded(text.substr(begin, end - begin));
  if (letter_case == LetterCase::kLower) {
    if (c == 0x130) return "i\xcc\x87";
    const bool final_sigma = c == 0x3a3 && EndsWord(text, begin, end);
    AppendUtf8(final_sigma ? 0x3c2 : static_cast<uint32_t>(utf8proc_tolower(simple)), &out);
    return out;
  }
  const bool upper = letter_case == LetterCase::kUpper;
  if (const LongCase* row = FindLongCase(c)) return upper ? row->upper : row->title;
  AppendUtf8(static_cast<uint32_t>(upper ? utf8proc_toupper(simple) : utf8proc_totitle(simple)), &out);
  return out;
}

bool IsAllOfCase(std::string_view text, bool (*is_case)(uint32_t), bool (*is_other)(uint32_t)) {
  bool found = false;
  for (size_t pos = 0; pos < text.size();) {
    const uint32_t c = NextCodePoint(text, &pos);
    if (is_other(c)) return false;
    found |= is_case(c);
  }
  return found;
}

}  // namespace

bool IsLetter(uint32_t c) {
  const utf8proc_category_t category = Category(c);
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}
bool IsUpperLetter(uint32_t c) {
  const utf8proc_category_t category = Category(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT || InRanges(kOtherUpper, c);
}
bool IsCased(uint32_t c) { return IsUpperLetter(c) || IsLowerLetter(c); }
bool IsDecimalDigit(uint32_t c) { return Category(c) == UTF8PROC_CATEGORY_ND; }
bool IsDigitLike(uint32_t c) { return IsDecimalDigit(c) || InRanges(kOtherDigits, c); }

bool IsLowerCase(std::string_view text) { return IsAllOfCase(text, IsLowerLetter, IsUpperLetter); }
bool IsUpperCase(std::string_view text) {
  const auto upper = [](uint32_t c) { return IsUpperLetter(c) && Category(c) != UTF8PROC_CATEGORY_LT; };
  const auto other = [](uint32_t c) { return IsLowerLetter(c) || Category(c) == UTF8PROC_CATEGORY_LT; };
  return IsAllOfCase(text, upper, other);
}

void AppendInCase(const Text& text, size_t begin, size_t end, LetterCase letter_case, TextBuilder* out) {
  OriginCursor origin(text);
  for (size_t pos = begin; pos < end && !out->overflowed();) {
    const size_t at = pos;
    const bool is_data = origin.IsData(at);
    const uint32_t c = NextCodePoint(text.bytes, &pos);
    out->Append(InCase(text.bytes, at, pos, c, letter_case), is_data);
  }
}

}  // namespace hydrad::jinja
