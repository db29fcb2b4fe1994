#include "server/text/jinja/template_callable.h"

#include <fmt/core.h>

#include <algorithm>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

// Gives the elements of something that holds them all.
class ListIterator : public Iterator {
 public:
  explicit ListIterator(std::vector<Value> items) : items_(std::move(items)) {}

  absl::StatusOr<bool> Next(Value* out) override {
    if (next_ == items_.size()) return false;
    *out = items_[next_++];
    return true;
  }

 private:
  std::vector<Value> items_;
  size_t next_ = 0;
};

std::vector<Value> Characters(Runtime* runtime, const Text& text) {
  std::vector<Value> out;
  OriginCursor origin(text);
  for (size_t pos = 0; pos < text.bytes.size() && !runtime->heap.exhausted();) {
    const size_t size = CharLength(text.bytes[pos]);
    TextBuilder character(size);
    character.Append(std::string_view(text.bytes).substr(pos, size), origin.IsData(pos));
    out.push_back(runtime->heap.NewText(character.Take()));
    pos += size;
  }
  return out;
}

}  // namespace

absl::Status Nesting::status() const {
  if (runtime_->depth <= kMax) return absl::OkStatus();
  return InvalidArgument("is nested more than {} levels deep", kMax);
}

const Value* Arguments::Keyword(std::string_view name) const {
  for (const auto& [keyword, value] : keywords) {
    if (keyword.bytes() == name) return &value;
  }
  return nullptr;
}

std::string_view Call::Parameter(int index) const {
  std::string_view rest = builtin_.parameters;
  for (; index > 0; --index) {
    const size_t space = rest.find(' ');
    if (space == std::string_view::npos) return "";
    rest.remove_prefix(space + 1);
  }
  return rest.substr(0, rest.find(' '));
}

absl::Status Call::Bind() {
  if (builtin_.parameters == "*") return absl::OkStatus();
  int count = 0;
  while (count < kMaxParameters && !Parameter(count).empty()) ++count;
  if (arguments.positional.size() > static_cast<size_t>(count)) {
    return Error(fmt::format("takes at most {} arguments, not {}", count, arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) bound_[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.keywords) {
    int index = 0;
    while (index < count && Parameter(index) != name.bytes()) ++index;
    if (index == count) return Error(fmt::format("has no parameter '{}'", name.bytes()));
    if (bound_[index] != nullptr) return Error(fmt::format("is given '{}' twice", name.bytes()));
    bound_[index] = &value;
  }
  for (int i = 0; i < builtin_.required; ++i) {
    if (bound_[i] == nullptr) return Error(fmt::format("needs the argument '{}'", Parameter(i)));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Call::Int(int index, int64_t otherwise) const {
  if (!Given(index)) return otherwise;
  if (!Arg(index)->IsInteger()) {
    return Error(
        fmt::format("'{}' must be an integer, not {}", Parameter(index), KindName(Arg(index)->kind())));
  }
  return Arg(index)->integer();
}

bool Call::True(int index, bool otherwise) const { return Given(index) ? Truth(*Arg(index)) : otherwise; }

absl::StatusOr<const Text*> Call::String(int index) const {
  if (!Arg(index)->Is(Kind::kText)) {
    return Error(
        fmt::format("'{}' must be a string, not {}", Parameter(index), KindName(Arg(index)->kind())));
  }
  return &Arg(index)->text();
}

absl::Status Call::Error(std::string_view text) const {
  return InvalidArgument("{}: {}", builtin_.name, text);
}

absl::StatusOr<Value> CallBuiltin(Runtime* runtime, const Builtin& builtin, const Value& self,
                                  const Arguments& arguments) {
  Call call(runtime, builtin, self, arguments);
  RETURN_IF_ERROR(call.Bind());
  runtime->heap.Step();
  return builtin.run(call);
}

Value NewCallable(Runtime* runtime, std::function<absl::StatusOr<Value>(const Arguments&)> run) {
  auto* callable = runtime->heap.New<Callable>();
  callable->run = std::move(run);
  return Value::Of(Kind::kCallable, callable);
}

Value NewCallable(Runtime* runtime, const Builtin& builtin, Value self) {
  return NewCallable(runtime, [runtime, &builtin, self = std::move(self)](const Arguments& arguments) {
    return CallBuiltin(runtime, builtin, self, arguments);
  });
}

absl::StatusOr<std::vector<Value>> Elements(Runtime* runtime, const Value& value) {
  std::vector<Value> out;
  switch (value.kind()) {
    case Kind::kUndefined:
      break;
    case Kind::kList:
    case Kind::kTuple:
      out = value.list().items;
      break;
    case Kind::kDict:
      for (const auto& [key, unused] : value.dict().items) out.push_back(key);
      break;
    case Kind::kView:
      out = value.view().items;
      break;
    case Kind::kText:
      out = Characters(runtime, value.text());
      break;
    case Kind::kRange:
      for (int64_t i = 0; i < value.range().length(); ++i) {
        out.push_back(Value::Int(value.range().start + i * value.range().step));
      }
      break;
    case Kind::kIterator: {
      Value next;
      while (!runtime->heap.exhausted()) {
        ASSIGN_OR_RETURN(const bool found, value.iterator().Next(&next));
        if (!found) break;
        out.push_back(std::move(next));
        runtime->heap.Step();
      }
      break;
    }
    default:
      return InvalidArgument("a value of type {} has no elements", KindName(value.kind()));
  }
  runtime->heap.Step(static_cast<int64_t>(out.size()));
  RETURN_IF_ERROR(runtime->heap.status());
  return out;
}

absl::StatusOr<Iterator*> Iterate(Runtime* runtime, const Value& value) {
  if (value.Is(Kind::kIterator)) return &value.iterator();
  ASSIGN_OR_RETURN(auto items, Elements(runtime, value));
  runtime->heap.Charge(items.size() * sizeof(Value));
  return runtime->heap.New<ListIterator>(std::move(items));
}

absl::StatusOr<int64_t> Length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kText:
      return static_cast<int64_t>(CharacterCount(value.bytes()));
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<int64_t>(value.list().items.size());
    case Kind::kDict:
      return static_cast<int64_t>(value.dict().items.size());
    case Kind::kView:
      return static_cast<int64_t>(value.view().items.size());
    case Kind::kRange:
      return value.range().length();
    default:
      return InvalidArgument("a value of type {} has no length", KindName(value.kind()));
  }
}

}  // namespace hydrad::jinja
