#include "server/text/jinja/template_text.h"

#include <algorithm>

#include "server/text/tokenizer/unicode.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {

Text Text::FromContext(std::string_view value) {
  Text text(value);
  if (!value.empty()) text.data.push_back({0, value.size()});
  return text;
}

bool TextBuilder::Fits(size_t bytes) {
  if (bytes <= max_bytes_ - std::min(max_bytes_, text_.bytes.size())) return true;
  overflowed_ = true;
  return false;
}

void TextBuilder::AddData(size_t begin, size_t end) {
  if (begin == end) return;
  if (!text_.data.empty() && text_.data.back().end == begin) {
    text_.data.back().end = end;
  } else {
    text_.data.push_back({begin, end});
  }
}

void TextBuilder::Append(std::string_view literal) { Append(literal, /*is_data=*/false); }

void TextBuilder::Append(std::string_view bytes, bool is_data) {
  if (!Fits(bytes.size())) return;
  const size_t begin = text_.bytes.size();
  text_.bytes += bytes;
  if (is_data) AddData(begin, text_.bytes.size());
}

void TextBuilder::Append(const Text& text, size_t begin, size_t end) {
  if (!Fits(end - begin)) return;
  const size_t to = text_.bytes.size();
  text_.bytes.append(text.bytes, begin, end - begin);
  // Ranges are sorted, so the first that ends behind `begin` is found by halving.
  auto range = std::upper_bound(text.data.begin(), text.data.end(), begin,
                                [](size_t pos, const ByteRange& r) { return pos < r.end; });
  for (; range != text.data.end() && range->begin < end; ++range) {
    AddData(to + std::max(range->begin, begin) - begin, to + std::min(range->end, end) - begin);
  }
}

bool OriginCursor::IsData(size_t pos) {
  while (next_ < text_.data.size() && text_.data[next_].end <= pos) ++next_;
  return next_ < text_.data.size() && text_.data[next_].begin <= pos;
}

size_t CharacterCount(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; });
}

size_t ByteOfCharacter(std::string_view text, size_t index) {
  size_t pos = 0;
  for (; index > 0 && pos < text.size(); --index) pos += CharLength(text[pos]);
  return pos;
}

bool IsPythonSpace(uint32_t c) { return IsWhiteSpace(c) || (c >= 0x1c && c <= 0x1f); }

std::string_view StripSpace(std::string_view text, bool left, bool right) {
  for (size_t pos = 0; left && !text.empty(); pos = 0) {
    if (!IsPythonSpace(NextCodePoint(text, &pos))) break;
    text.remove_prefix(pos);
  }
  while (right && !text.empty()) {
    const uint32_t last = LastCodePoint(text);
    if (!IsPythonSpace(last)) break;
    text.remove_suffix(last < 0x80 ? 1 : last < 0x800 ? 2 : 3);
  }
  return text;
}

}  // namespace hydrad::jinja
