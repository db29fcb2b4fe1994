// UTF-8: decoding text that is known to be valid, and repairing bytes that are not.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_UTF8_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hydrad {

// The code point at `*pos`; moves `*pos` behind it. REQUIRES: `text` is valid and `*pos` is at a character.
uint32_t NextCodePoint(std::string_view text, size_t* pos);
// The last code point. REQUIRES: `text` is valid and not empty.
uint32_t LastCodePoint(std::string_view text);
// Bytes of the character that starts with `lead`. REQUIRES: `lead` is a valid first byte.
inline size_t CharLength(char lead) {
  const uint8_t b = static_cast<uint8_t>(lead);
  return b < 0x80 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}
// REQUIRES: `code_point` is a Unicode scalar value.
void AppendUtf8(uint32_t code_point, std::string* out);

// True if all of `text` is UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
bool IsUtf8(std::string_view text);
// Bytes of the whole characters at the front of `text`, and whether what follows them may become one more
// character when bytes are added to it.
struct Utf8Prefix {
  size_t length;
  bool open;
};
Utf8Prefix WholeCharacters(std::string_view text);
// `text` with every maximal ill-formed part replaced by one U+FFFD, as Unicode recommends and as Rust and
// Python do.
std::string RepairUtf8(std::string_view text);

// The same for bytes that arrive in parts: the joined output does not depend on where the parts were cut.
class Utf8Repairer {
 public:
  // Appends to `out` the text that has become certain; at most three bytes are held back.
  void Add(std::string_view bytes, std::string* out);
  // Appends what an incomplete sequence at the end becomes.
  void Finish(std::string* out);
  bool holding() const { return !held_.empty(); }

 private:
  std::string held_;  // a proper prefix of a valid sequence
};

// GPT-2's writing of bytes as visible characters, in which byte-level vocabularies are stored: the printable
// bytes of Latin-1 stand for themselves, the other 68 for U+0100 and up.
uint32_t ByteToChar(uint8_t byte);
// The byte that the character stands for, or -1.
int CharToByte(uint32_t code_point);
// All bytes of `text`, written so.
std::string BytesToChars(std::string_view text);
// The bytes that `text` stands for. False, with `out` untouched, if a character stands for none.
bool CharsToBytes(std::string_view text, std::string* out);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_UTF8_H_
