#include "server/text/jinja/template_value.h"

#include <fmt/core.h>

#include <cmath>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {
namespace {

// Dicts with fewer elements are searched one by one.
constexpr size_t kIndexedFrom = 8;

// Writes what a key is equal to: 1, 1.0 and true are one key. False for what cannot be a key.
bool EncodeKey(const Value& key, int depth, std::string* out) {
  switch (key.kind()) {
    case Kind::kUndefined:
      *out += 'u';
      return true;
    case Kind::kNone:
      *out += 'n';
      return true;
    case Kind::kBool:
    case Kind::kInt:
      *out += fmt::format("i{};", key.integer());
      return true;
    case Kind::kFloat: {
      const double real = key.real();
      const bool whole = real == std::floor(real) && std::abs(real) < 9.2e18;
      *out += whole ? fmt::format("i{};", static_cast<int64_t>(real)) : fmt::format("f{};", real);
      return true;
    }
    case Kind::kText:
      *out += fmt::format("s{}:", key.bytes().size());
      *out += key.bytes();
      return true;
    case Kind::kTuple:
      if (depth > 20) return false;
      *out += '(';
      for (const Value& item : key.list().items) {
        if (!EncodeKey(item, depth + 1, out)) return false;
      }
      *out += ')';
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string_view KindName(Kind kind) {
  static constexpr std::string_view kNames[] = {"Undefined", "NoneType",  "bool",      "int",  "float",
                                                "str",       "list",      "tuple",     "dict", "Namespace",
                                                "range",     "dict view", "generator", "loop", "function"};
  return kNames[static_cast<size_t>(kind)];
}

Value Value::Bool(bool b) {
  Value value(Kind::kBool);
  value.integer_ = b ? 1 : 0;
  return value;
}

Value Value::Int(int64_t i) {
  Value value(Kind::kInt);
  value.integer_ = i;
  return value;
}

Value Value::Float(double f) {
  Value value(Kind::kFloat);
  value.real_ = f;
  return value;
}

Value Value::Of(std::shared_ptr<const Text> text) {
  Value value(Kind::kText);
  value.text_ = std::move(text);
  return value;
}

Value Value::Of(Kind kind, Object* object) {
  Value value(kind);
  value.object_ = object;
  return value;
}

Value Value::Undefined(std::shared_ptr<const Text> name, std::optional<Kind> owner) {
  Value value(Kind::kUndefined);
  value.text_ = std::move(name);
  value.integer_ = owner ? static_cast<int64_t>(*owner) : -1;
  return value;
}

List& Value::list() const { return *static_cast<List*>(object_); }
Dict& Value::dict() const { return *static_cast<Dict*>(object_); }
Range& Value::range() const { return *static_cast<Range*>(object_); }
View& Value::view() const { return *static_cast<View*>(object_); }
Iterator& Value::iterator() const { return *static_cast<Iterator*>(object_); }
Loop& Value::loop() const { return *static_cast<Loop*>(object_); }
Callable& Value::callable() const { return *static_cast<Callable*>(object_); }

absl::Status Value::UndefinedError() const {
  const std::string name = text_ == nullptr ? "value" : text_->bytes;
  if (integer_ < 0) return InvalidArgument("'{}' is undefined", name);
  return InvalidArgument("a value of type {} has no element '{}'", KindName(static_cast<Kind>(integer_)),
                         name);
}

absl::StatusOr<const Value*> Dict::Find(const Value& key) const {
  std::string encoded;
  if (!EncodeKey(key, 0, &encoded)) {
    return InvalidArgument("a value of type {} cannot be a key", KindName(key.kind()));
  }
  return FindEncoded(encoded);
}

const Value* Dict::Find(std::string_view key) const {
  if (items.size() >= kIndexedFrom) return FindEncoded(fmt::format("s{}:{}", key.size(), key));
  for (const auto& [name, value] : items) {
    if (name.Is(Kind::kText) && name.bytes() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::FindEncoded(const std::string& encoded) const {
  const auto found = by_key_.find(encoded);
  return found == by_key_.end() ? nullptr : &items[found->second].second;
}

absl::Status Dict::Set(const Value& key, Value value) {
  std::string encoded;
  if (!EncodeKey(key, 0, &encoded)) {
    return InvalidArgument("a value of type {} cannot be a key", KindName(key.kind()));
  }
  const auto [found, added] = by_key_.try_emplace(std::move(encoded), items.size());
  if (added) {
    items.emplace_back(key, std::move(value));
  } else {
    items[found->second].second = std::move(value);
  }
  return absl::OkStatus();
}

int64_t Range::length() const {
  if (step > 0 ? start >= stop : start <= stop) return 0;
  const uint64_t span = step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
                                 : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t count = (span - 1) / stride + 1;
  return count > INT64_MAX ? INT64_MAX : static_cast<int64_t>(count);
}

absl::StatusOr<bool> Loop::Peek() {
  if (!ahead.empty()) return true;
  if (ended) return false;
  Value next;
  ASSIGN_OR_RETURN(const bool found, fetch(&next));
  if (found) {
    ahead.push_back(std::move(next));
  } else {
    ended = true;
  }
  return found;
}

bool Truth(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer() != 0;
    case Kind::kFloat:
      return value.real() != 0;
    case Kind::kText:
      return !value.bytes().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.list().items.empty();
    case Kind::kDict:
      return !value.dict().items.empty();
    case Kind::kRange:
      return value.range().length() > 0;
    case Kind::kView:
      return !value.view().items.empty();
    default:
      return true;
  }
}

}  // namespace hydrad::jinja
