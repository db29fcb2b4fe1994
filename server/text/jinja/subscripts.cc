#include "server/text/jinja/subscripts.h"

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/container_methods.h"
#include "server/text/jinja/loop_attributes.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/safe_text.h"
#include "server/text/jinja/text_methods.h"

namespace hydrad::jinja {
namespace {

// The element at a place counted from the front, or from the end if negative; null where there is none.
const Value* At(const std::vector<Value>& items, int64_t index) {
  const auto size = static_cast<int64_t>(items.size());
  if (index < 0) index += size;
  return index < 0 || index >= size ? nullptr : &items[static_cast<size_t>(index)];
}

// The element, or an undefined value where there is none.
absl::StatusOr<Value> Element(Runtime* runtime, const Value& value, const Value& key, bool* found) {
  *found = true;
  if (value.Is(Kind::kDict)) {
    const auto element = value.dict().Find(key);
    if (element.ok() && *element != nullptr) return **element;
  } else if (key.IsInteger()) {
    const int64_t index = key.integer();
    if (value.IsSequence()) {
      if (const Value* element = At(value.list().items, index)) return *element;
    } else if (value.Is(Kind::kText)) {
      const auto count = static_cast<int64_t>(CharacterCount(value.bytes()));
      const int64_t place = index < 0 ? index + count : index;
      if (place >= 0 && place < count) {
        return GetSlice(runtime, value, Value::Int(place), Value::Int(place + 1), Value::None());
      }
    } else if (value.Is(Kind::kRange)) {
      const int64_t count = value.range().length();
      const int64_t place = index < 0 ? index + count : index;
      if (place >= 0 && place < count) return Value::Int(value.range().start + place * value.range().step);
    }
  }
  *found = false;
  return Value();
}

// The places of a slice: from `begin` up to `end`, `count` of them, `step` apart.
struct Places {
  int64_t begin, end, count, step;
};

absl::StatusOr<Places> SlicePlaces(int64_t size, const Value& begin, const Value& end, const Value& step) {
  for (const Value* part : {&begin, &end, &step}) {
    if (part->Is(Kind::kUndefined)) return part->UndefinedError();
    if (!part->Is(Kind::kNone) && !part->IsInteger()) {
      return InvalidArgument("a slice needs integers, not {}", KindName(part->kind()));
    }
  }
  const int64_t by = step.Is(Kind::kNone) ? 1 : step.integer();
  if (by == 0) return InvalidArgument("a slice whose step is zero");
  const int64_t low = by > 0 ? 0 : -1, high = by > 0 ? size : size - 1;
  const auto clamp = [&](const Value& v, int64_t otherwise) {
    if (v.Is(Kind::kNone)) return otherwise;
    const int64_t place = v.integer() < 0 ? v.integer() + size : v.integer();
    return place < low ? low : place > high ? high : place;
  };
  const int64_t from = clamp(begin, by > 0 ? low : high), to = clamp(end, by > 0 ? high : low);
  const int64_t span = by > 0 ? to - from : from - to;
  const auto stride =
      static_cast<int64_t>(by > 0 ? static_cast<uint64_t>(by) : 0 - static_cast<uint64_t>(by));
  const int64_t count = span <= 0 ? 0 : stride < 0 ? 1 : (span - 1) / stride + 1;
  return Places{from, to, count, by};
}

Value SliceText(Runtime* runtime, const Text& text, const Places& places) {
  TextBuilder out = runtime->heap.Builder();
  if (places.step == 1) {
    const size_t begin = ByteOfCharacter(text.bytes, static_cast<size_t>(places.begin));
    const std::string_view rest = std::string_view(text.bytes).substr(begin);
    out.Append(text, begin, begin + ByteOfCharacter(rest, static_cast<size_t>(places.count)));
    return runtime->heap.NewText(&out);
  }
  std::vector<size_t> borders;  // where each character begins, and the end
  for (size_t pos = 0; pos < text.bytes.size();
       pos += ByteOfCharacter(std::string_view(text.bytes).substr(pos), 1)) {
    borders.push_back(pos);
  }
  borders.push_back(text.bytes.size());
  for (int64_t i = 0; i < places.count; ++i) {
    const auto at = static_cast<size_t>(places.begin + i * places.step);
    out.Append(text, borders[at], borders[at + 1]);
  }
  return runtime->heap.NewText(&out);
}

}  // namespace

absl::StatusOr<Value> GetTypeAttribute(Runtime* runtime, const Value& value, std::string_view name,
                                       bool* known) {
  const Builtin* method = nullptr;
  *known = false;
  switch (value.kind()) {
    case Kind::kText:
      method = FindTextMethod(name);
      break;
    case Kind::kList:
    case Kind::kTuple:
      if (value.list().is_group && (name == "grouper" || name == "list")) {
        *known = true;
        return value.list().items[name == "list" ? 1 : 0];
      }
      method = FindListMethod(name);
      break;
    case Kind::kDict:
      method = FindDictMethod(name);
      *known = IsChangingDictMethod(name);
      break;
    case Kind::kNamespace:
      if (const Value* attribute = value.dict().Find(name)) {
        *known = true;
        return *attribute;
      }
      break;
    case Kind::kLoop:
      return LoopAttribute(runtime, value, name, known);
    default:
      break;
  }
  if (method == nullptr) return Value();
  *known = true;
  if (value.Is(Kind::kText) && value.text().safe) {
    return NewCallable(
        runtime, [runtime, method, value](const Arguments& arguments) -> absl::StatusOr<Value> {
          ASSIGN_OR_RETURN(const Value result, CallBuiltin(runtime, *method, value, arguments));
          return Marked(runtime, result);
        });
  }
  return NewCallable(runtime, *method, value);
}

absl::StatusOr<Value> GetAttribute(Runtime* runtime, const Value& value, const Value& name) {
  if (value.Is(Kind::kUndefined)) return value.UndefinedError();
  bool known;
  ASSIGN_OR_RETURN(Value attribute, GetTypeAttribute(runtime, value, name.bytes(), &known));
  if (known && !attribute.Is(Kind::kUndefined)) return attribute;
  if (!known && value.Is(Kind::kDict)) {
    if (const Value* element = value.dict().Find(name.bytes())) return *element;
  }
  if (known && !value.Is(Kind::kDict)) return attribute;
  return Value::Undefined(name.shared_text(), value.kind());
}

absl::StatusOr<Value> GetElement(Runtime* runtime, const Value& value, const Value& key) {
  if (value.Is(Kind::kUndefined)) return value.UndefinedError();
  bool found;
  ASSIGN_OR_RETURN(Value element, Element(runtime, value, key, &found));
  if (found) return element;
  if (key.Is(Kind::kText)) {
    ASSIGN_OR_RETURN(Value attribute, GetTypeAttribute(runtime, value, key.bytes(), &found));
    if (found && !attribute.Is(Kind::kUndefined)) return attribute;
    return Value::Undefined(key.shared_text(), value.kind());
  }
  TextBuilder name = runtime->heap.Builder();
  if (!AppendText(runtime, key, &name).ok()) return Value();
  return Value::Undefined(std::make_shared<const Text>(name.Take()), value.kind());
}

absl::StatusOr<Value> GetSlice(Runtime* runtime, const Value& value, const Value& begin, const Value& end,
                               const Value& step) {
  if (value.Is(Kind::kUndefined)) return value.UndefinedError();
  if (!value.Is(Kind::kText) && !value.IsSequence() && !value.Is(Kind::kRange)) {
    return InvalidArgument("a value of type {} has no slices", KindName(value.kind()));
  }
  ASSIGN_OR_RETURN(const int64_t size, Length(value));
  ASSIGN_OR_RETURN(const Places places, SlicePlaces(size, begin, end, step));
  runtime->heap.Step(places.count);
  if (value.Is(Kind::kText)) return SliceText(runtime, value.text(), places);
  if (value.Is(Kind::kRange)) {
    const Range& from = value.range();
    Range* out = runtime->heap.New<Range>();
    out->start = from.start + places.begin * from.step;
    out->step = from.step * places.step;
    out->stop = from.start + places.end * from.step;
    return Value::Of(Kind::kRange, out);
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(places.count));
  for (int64_t i = 0; i < places.count; ++i) {
    items.push_back(value.list().items[static_cast<size_t>(places.begin + i * places.step)]);
  }
  return runtime->heap.NewList(std::move(items), value.kind());
}

absl::StatusOr<Value> CallValue(Runtime* runtime, const Value& callee, const Arguments& arguments) {
  runtime->heap.Step();
  if (callee.Is(Kind::kUndefined)) return callee.UndefinedError();
  if (callee.Is(Kind::kCallable)) return callee.callable().run(arguments);
  if (callee.Is(Kind::kLoop) && callee.loop().recurse && arguments.positional.size() == 1) {
    return callee.loop().recurse(arguments.positional[0]);
  }
  return InvalidArgument("a value of type {} cannot be called", KindName(callee.kind()));
}

}  // namespace hydrad::jinja
