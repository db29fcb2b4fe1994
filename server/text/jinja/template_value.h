// Values of a template, after Python's: a small tagged value that holds a number, a string that is shared, or
// a pointer to an object of the Heap that renders (template_heap.h).
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_VALUE_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_VALUE_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/text/jinja/template_text.h"

namespace hydrad::jinja {

enum class Kind : uint8_t {
  kUndefined,  // a name or an element that is not there; what it was is kept for errors
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,
  kList,
  kTuple,
  kDict,
  kNamespace,
  kRange,
  kView,      // of a dict: keys(), values(), items()
  kIterator,  // gives each of its elements once
  kLoop,      // the variable `loop`
  kCallable,  // a macro, a method of a value, a function
};

// Python's name of the type, for errors: "str", "dict", ...
std::string_view KindName(Kind kind);

// What a Heap owns.
struct Object {
  virtual ~Object() = default;
};
struct List;
struct Dict;
struct Range;
struct View;
class Iterator;
struct Loop;
struct Callable;

// One value. Copies are cheap and share what they point to: a text, which never changes, or an object, which
// is the Heap's and goes with it. So a value must not outlive the rendering that it comes from. Not
// thread-safe.
class Value {
 public:
  Value() = default;  // undefined, without a name
  static Value None() { return Value(Kind::kNone); }
  static Value Bool(bool b);
  static Value Int(int64_t i);
  static Value Float(double f);
  static Value Of(std::shared_ptr<const Text> text);
  static Value Of(Kind kind, Object* object);
  // An undefined value. `name` is what was asked for, and `owner` the kind of value that was asked; a
  // variable has no owner.
  static Value Undefined(std::shared_ptr<const Text> name, std::optional<Kind> owner = std::nullopt);

  Kind kind() const { return kind_; }
  bool Is(Kind kind) const { return kind_ == kind; }
  bool IsNumber() const { return kind_ >= Kind::kBool && kind_ <= Kind::kFloat; }
  bool IsInteger() const { return kind_ == Kind::kBool || kind_ == Kind::kInt; }
  bool IsSequence() const { return kind_ == Kind::kList || kind_ == Kind::kTuple; }

  // REQUIRES of each: the value is of the kind.
  bool boolean() const { return integer_ != 0; }
  int64_t integer() const { return integer_; }  // of a bool too
  double real() const { return kind_ == Kind::kFloat ? real_ : static_cast<double>(integer_); }
  const Text& text() const { return *text_; }
  const std::string& bytes() const { return text_->bytes; }
  const std::shared_ptr<const Text>& shared_text() const { return text_; }
  List& list() const;  // of a tuple too
  Dict& dict() const;  // the attributes of a namespace too
  Range& range() const;
  View& view() const;
  Iterator& iterator() const;
  Loop& loop() const;
  Callable& callable() const;
  Object* object() const { return object_; }

  // Whether the value is the string `literal`.
  bool IsText(std::string_view literal) const { return kind_ == Kind::kText && text_->bytes == literal; }
  // The error of using an undefined value. REQUIRES: it is one.
  absl::Status UndefinedError() const;

 private:
  explicit Value(Kind kind) : kind_(kind) {}

  Kind kind_ = Kind::kUndefined;
  union {
    int64_t integer_ = 0;
    double real_;
    Object* object_;
  };
  std::shared_ptr<const Text> text_;
};

// A list or tuple. A tuple never changes; a list only while it is made.
struct List : Object {
  std::vector<Value> items;
  bool is_group = false;  // the (grouper, list) of the filter groupby
};

// A dict, or the attributes of a namespace; keys keep their order.
struct Dict : Object {
  std::vector<std::pair<Value, Value>> items;

  // The value, or null. Errors name a key that cannot be one (a list, a dict).
  absl::StatusOr<const Value*> Find(const Value& key) const;
  const Value* Find(std::string_view key) const;
  absl::Status Set(const Value& key, Value value);

 private:
  const Value* FindEncoded(const std::string& encoded) const;
  std::unordered_map<std::string, size_t> by_key_;  // encoded key -> place in `items`
};

// Python's range: the integers from `start` up (or down) to before `stop`. REQUIRES: step is not 0.
struct Range : Object {
  int64_t start, stop, step;

  int64_t length() const;  // never negative
};

// What keys(), values() and items() of a dict give: the elements as they were when it was made.
struct View : Object {
  std::string_view name;  // "dict_keys"
  std::vector<Value> items;
};

// A source of elements that are made as they are asked for, such as what a chain of filters gives. Each comes
// once, whoever asks.
class Iterator : public Object {
 public:
  // Puts the next element into `out`; false at the end.
  virtual absl::StatusOr<bool> Next(Value* out) = 0;
};

// What `loop` tells of, and where its statement takes the elements from.
struct Loop : Object {
  // Puts the next element that passes the statement's `if` into `out`; false at the end.
  std::function<absl::StatusOr<bool>(Value* out)> fetch;
  std::optional<int64_t> length;  // where it is known without looking ahead
  std::deque<Value> ahead;        // fetched, not yet visited
  bool ended = false;             // fetch has said so
  int64_t index0 = -1;
  int64_t depth0 = 0;
  Value previous, current;
  std::optional<std::vector<Value>> last_changed;
  // Renders the body over other elements; set for a recursive loop.
  std::function<absl::StatusOr<Value>(const Value& items)> recurse;

  // Makes sure that at least one element is ahead; false at the end.
  absl::StatusOr<bool> Peek();
};

// Whether a value counts as true.
bool Truth(const Value& value);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_VALUE_H_
