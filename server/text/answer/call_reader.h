// Reads the JSON object in which a model writes that it calls a function.
#ifndef HYDRAD_SERVER_TEXT_ANSWER_CALL_READER_H_
#define HYDRAD_SERVER_TEXT_ANSWER_CALL_READER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "server/text/answer/json_scanner.h"

namespace hydrad {

// An object such as {"name": "f", "arguments": {"x": 1}}, byte by byte. "parameters" is another word for
// "arguments"; "id" and "type" may stand beside them with a string, and no other key may. Arguments are an
// object, a string that holds one (so some models write them), or null, which is as {}; keys may come in any
// order. Where the arguments are an object behind the name, they are told byte by byte; else they are kept
// until both are there. Keeps no more than it was given beside the arguments that it tells. Single-threaded.
class CallReader {
 public:
  static constexpr size_t kMaxNameBytes = 256;

  // A call without arguments is one with {} unless `needs_arguments`.
  explicit CallReader(bool needs_arguments) : needs_arguments_(needs_arguments) {}
  // A call whose name is known: only the object of its arguments is read.
  explicit CallReader(std::string name) : state_(State::kValue), name_(std::move(name)), bare_(true) {}

  enum class Step : uint8_t {
    kEnvelope,       // the byte belongs to the object around
    kArguments,      // to the arguments, whose name is known
    kArgumentsEnd,   // and is the last of them
    kKeptArguments,  // to the object around, and all of arguments() are known with it, as is the name
    kBad,            // to no call: nothing may be added any more
  };
  Step Add(char c);

  // Whether the last byte was the last of the object.
  bool ended() const { return state_ == State::kEnded; }
  const std::string& name() const { return *name_; }
  // A JSON object. REQUIRES: after kKeptArguments.
  const std::string& arguments() const { return *arguments_; }

 private:
  enum class State : uint8_t {
    kOpen,
    kKeyOrEnd,
    kKey,
    kInKey,
    kColon,
    kValue,
    kInValue,
    kNull,
    kCommaOrEnd,
    kEnded
  };
  enum class Key : uint8_t { kName, kArguments, kOther };

  Step Go(State state);
  Step InKey(char c);
  Step BeginValue(char c);
  Step InValue(char c);
  Step InNull(char c);
  Step EndValue();
  Step Known();
  Step Close();

  const bool needs_arguments_ = true;
  State state_ = State::kOpen;
  Key key_ = Key::kArguments;
  std::string key_text_;
  uint8_t keys_ = 0;      // a bit for each that was there
  JsonScanner scanner_;   // of the value that is read
  bool streams_ = false;  // that value's bytes are told as they come
  bool told_ = false;     // name and arguments are
  std::string kept_;      // the value that is read, as it stands there, unless it streams
  std::optional<std::string> name_, arguments_;
  const bool bare_ = false;  // there is no object around
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_ANSWER_CALL_READER_H_
