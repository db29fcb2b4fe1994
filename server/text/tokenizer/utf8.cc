#include "server/text/tokenizer/utf8.h"

#include <array>
#include <cstring>

namespace hydrad {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// What the bytes at the front of a text are.
struct Front {
  enum Kind { kValid, kInvalid, kIncomplete } kind;
  size_t length;  // of the character, of the maximal ill-formed part, or of all that is left
};

// The range in which the second byte must lie depends on the first (Unicode standard, table 3-7).
Front Classify(const uint8_t* p, size_t size) {
  const uint8_t lead = p[0];
  if (lead < 0x80) return {Front::kValid, 1};
  if (lead < 0xc2 || lead > 0xf4) return {Front::kInvalid, 1};
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (size_t i = 1; i < length; ++i, low = 0x80, high = 0xbf) {
    if (i == size) return {Front::kIncomplete, size};
    if (p[i] < low || p[i] > high) return {Front::kInvalid, i};
  }
  return {Front::kValid, length};
}

// Length of the ASCII text at the front.
size_t AsciiPrefix(const uint8_t* p, size_t size) {
  size_t i = 0;
  for (uint64_t word; i + 8 <= size; i += 8) {
    std::memcpy(&word, p + i, 8);
    if (word & 0x8080808080808080u) break;
  }
  while (i < size && p[i] < 0x80) ++i;
  return i;
}

// Appends the repaired text of all but an incomplete end, and returns where that starts.
size_t RepairComplete(std::string_view text, std::string* out) {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  size_t start = 0;  // of valid text not yet appended
  size_t i = 0;
  while (i < text.size()) {
    i += AsciiPrefix(p + i, text.size() - i);
    if (i == text.size()) break;
    const Front front = Classify(p + i, text.size() - i);
    if (front.kind == Front::kIncomplete) break;
    if (front.kind == Front::kInvalid) {
      out->append(text.substr(start, i - start)).append(kReplacement);
      start = i + front.length;
    }
    i += front.length;
  }
  out->append(text.substr(start, i - start));
  return i;
}

struct ByteAlphabet {
  std::array<uint16_t, 256> to_char;
  std::array<int16_t, 0x144> to_byte;
};

constexpr ByteAlphabet MakeByteAlphabet() {
  ByteAlphabet alphabet{};
  for (int16_t& byte : alphabet.to_byte) byte = -1;
  uint16_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    const uint16_t c = visible ? static_cast<uint16_t>(b) : next++;
    alphabet.to_char[b] = c;
    alphabet.to_byte[c] = static_cast<int16_t>(b);
  }
  return alphabet;
}
constexpr ByteAlphabet kByteAlphabet = MakeByteAlphabet();

}  // namespace

uint32_t NextCodePoint(std::string_view text, size_t* pos) {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data()) + *pos;
  const size_t length = CharLength(text[*pos]);
  *pos += length;
  switch (length) {
    case 1:
      return p[0];
    case 2:
      return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    case 3:
      return (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    default:
      return (p[0] & 0x7u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
  }
}

uint32_t LastCodePoint(std::string_view text) {
  size_t pos = text.size() - 1;
  while ((static_cast<uint8_t>(text[pos]) & 0xc0) == 0x80) --pos;
  return NextCodePoint(text, &pos);
}

void AppendUtf8(uint32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
    return;
  }
  if (c < 0x800) {
    out->push_back(static_cast<char>(0xc0 | c >> 6));
  } else {
    if (c < 0x10000) {
      out->push_back(static_cast<char>(0xe0 | c >> 12));
    } else {
      out->push_back(static_cast<char>(0xf0 | c >> 18));
      out->push_back(static_cast<char>(0x80 | (c >> 12 & 0x3f)));
    }
    out->push_back(static_cast<char>(0x80 | (c >> 6 & 0x3f)));
  }
  out->push_back(static_cast<char>(0x80 | (c & 0x3f)));
}

Utf8Prefix WholeCharacters(std::string_view text) {
  const auto* p = reinterpret_cast<const uint8_t*>(text.data());
  for (size_t i = 0; i < text.size();) {
    i += AsciiPrefix(p + i, text.size() - i);
    if (i == text.size()) break;
    const Front front = Classify(p + i, text.size() - i);
    if (front.kind != Front::kValid) return {i, front.kind == Front::kIncomplete};
    i += front.length;
  }
  return {text.size(), true};
}

bool IsUtf8(std::string_view text) { return WholeCharacters(text).length == text.size(); }

std::string RepairUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  if (RepairComplete(text, &out) != text.size()) out.append(kReplacement);
  return out;
}

void Utf8Repairer::Add(std::string_view bytes, std::string* out) {
  if (held_.empty()) {
    held_ = bytes.substr(RepairComplete(bytes, out));
    return;
  }
  held_.append(bytes);
  held_.erase(0, RepairComplete(held_, out));
}

void Utf8Repairer::Finish(std::string* out) {
  if (!held_.empty()) out->append(kReplacement);
  held_.clear();
}

uint32_t ByteToChar(uint8_t byte) { return kByteAlphabet.to_char[byte]; }

int CharToByte(uint32_t code_point) {
  return code_point < kByteAlphabet.to_byte.size() ? kByteAlphabet.to_byte[code_point] : -1;
}

std::string BytesToChars(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (char c : text) AppendUtf8(ByteToChar(static_cast<uint8_t>(c)), &out);
  return out;
}

bool CharsToBytes(std::string_view text, std::string* out) {
  const size_t old_size = out->size();
  for (size_t pos = 0; pos < text.size();) {
    const int byte = CharToByte(NextCodePoint(text, &pos));
    if (byte < 0) {
      out->resize(old_size);
      return false;
    }
    out->push_back(static_cast<char>(byte));
  }
  return true;
}

}  // namespace hydrad
