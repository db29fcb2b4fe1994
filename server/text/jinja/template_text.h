// Strings of a template: UTF-8 whose bytes remember whether they came out of the context.
//
// Every operation on strings goes through this file, so that the origin of a byte survives whatever a
// template does: a string is put together from parts of others, or from literal text.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_TEXT_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "server/text/byte_range.h"

namespace hydrad::jinja {

struct Text {
  std::string bytes;            // UTF-8
  std::vector<ByteRange> data;  // from the context; ascending, neither overlapping nor touching
  bool safe = false;            // marked by the filter safe or escape: '+' escapes what is joined to it

  Text() = default;
  // Literal text, no data.
  explicit Text(std::string_view literal) : bytes(literal) {}
  // A string of the context.
  static Text FromContext(std::string_view value);

  // Whether any of the bytes is data.
  bool has_data() const { return !data.empty(); }
};

// Puts a Text together. It stops to grow at `max_bytes`, so that no operation takes more before a limit is
// looked at; overflowed() then tells.
class TextBuilder {
 public:
  explicit TextBuilder(size_t max_bytes) : max_bytes_(max_bytes) {}

  void Append(std::string_view literal);
  void Append(const Text& text) { Append(text, 0, text.bytes.size()); }
  // Appends the bytes [begin, end) of `text` with their origin. REQUIRES: both are borders of characters.
  void Append(const Text& text, size_t begin, size_t end);
  // Appends `bytes`, which stand for a part of a string that was data or not.
  void Append(std::string_view bytes, bool is_data);

  size_t size() const { return text_.bytes.size(); }
  bool overflowed() const { return overflowed_; }
  Text Take() { return std::move(text_); }

 private:
  bool Fits(size_t bytes);
  void AddData(size_t begin, size_t end);

  size_t max_bytes_;
  bool overflowed_ = false;
  Text text_;
};

// Reads the ranges of a text beside its bytes.
class OriginCursor {
 public:
  explicit OriginCursor(const Text& text) : text_(text) {}
  // Whether the byte at `pos` is data. REQUIRES: `pos` does not go back between calls.
  bool IsData(size_t pos);

 private:
  const Text& text_;
  size_t next_ = 0;
};

// The number of characters (code points).
size_t CharacterCount(std::string_view text);
// The byte at which character `index` begins; the size of the text where it has no more than `index`.
size_t ByteOfCharacter(std::string_view text, size_t index);

// White space as Python's str.strip sees it.
bool IsPythonSpace(uint32_t code_point);
// The text without the white space around it.
std::string_view StripSpace(std::string_view text, bool left, bool right);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_TEXT_H_
