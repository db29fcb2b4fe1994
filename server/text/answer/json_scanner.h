// Follows one JSON value byte by byte, to find its end and whether it is JSON.
#ifndef HYDRAD_SERVER_TEXT_ANSWER_JSON_SCANNER_H_
#define HYDRAD_SERVER_TEXT_ANSWER_JSON_SCANNER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace hydrad {

// Checks the grammar of JSON and nothing else: bytes of 0x80 and more may stand anywhere in a string, and an
// object may have a key twice. Keeps a byte for each bracket that is open, at most kMaxDepth.
// Single-threaded.
class JsonScanner {
 public:
  static constexpr size_t kMaxDepth = 64;

  enum class Progress : uint8_t {
    kMore,  // the value goes on
    kEnds,  // the byte is the value's last one
    kBad,   // the byte cannot stand here, or opens one bracket too many
  };
  // REQUIRES: the first byte is that of an object, an array or a string, which end by themselves; nothing is
  // added after kEnds or kBad.
  Progress Add(char c);

 private:
  enum class State : uint8_t {
    kValue,
    kValueOrEnd,  // an array has just been opened
    kKey,
    kKeyOrEnd,  // an object has just been opened
    kColon,
    kCommaOrEnd,
    kString,
    kEscape,      // behind a backslash
    kHex,         // in the four digits of \u
    kLiteral,     // in true, false or null
    kMinus,       // a number's first digit must follow
    kZero,        // behind a leading 0
    kDigits,      // before the point
    kPoint,       // the first digit behind the point must follow
    kFraction,    // behind it
    kExponent,    // behind e: a sign or a digit must follow
    kSign,        // the exponent's first digit must follow
    kPowerDigits  // behind it
  };
  Progress Value(char c);
  Progress Open(char bracket, State state);
  Progress Close(char bracket);
  Progress Go(State state);
  Progress ValueEnds();
  Progress InString(char c);
  Progress InNumber(char c);
  Progress BehindNumber(char c);
  Progress CommaOrEnd(char c);

  State state_ = State::kValue;
  bool is_key_ = false;       // of the string that is read
  int digits_ = 0;            // of \u, still to come
  std::string_view literal_;  // what must follow of it
  std::string open_;          // the brackets, { and [
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_ANSWER_JSON_SCANNER_H_
