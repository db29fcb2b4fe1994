// Filters that give their elements one by one, as they are asked for.
#include <fmt/core.h>

#include <functional>

#include "server/base/status_macros.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/value_tests.h"

namespace hydrad::jinja {
namespace {

using Result = absl::StatusOr<Value>;

// Gives what a function makes of the elements of another iterator: each element may become one, or none.
class Transformed : public Iterator {
 public:
  using Function = std::function<absl::StatusOr<bool>(Value* element)>;  // false leaves the element out

  Transformed(Runtime* runtime, Iterator* source, Function function)
      : runtime_(*runtime), source_(source), function_(std::move(function)) {}

  absl::StatusOr<bool> Next(Value* out) override {
    Nesting nesting(&runtime_);
    RETURN_IF_ERROR(nesting.status());
    for (;;) {
      runtime_.heap.Step();
      RETURN_IF_ERROR(runtime_.heap.status());
      ASSIGN_OR_RETURN(const bool found, source_->Next(out));
      if (!found) return false;
      ASSIGN_OR_RETURN(const bool kept, function_(out));
      if (kept) return true;
    }
  }

 private:
  Runtime& runtime_;
  Iterator* const source_;
  const Function function_;
};

Result Transform(Call& call, Transformed::Function function) {
  // What counts as false has no elements here, whatever it is.
  const Value empty = call.runtime.heap.NewList({});
  ASSIGN_OR_RETURN(Iterator* const source, Iterate(&call.runtime, Truth(call.self) ? call.self : empty));
  return Value::Of(Kind::kIterator,
                   call.runtime.heap.New<Transformed>(&call.runtime, source, std::move(function)));
}

// The arguments behind the first `count`.
Arguments Rest(const Arguments& arguments, size_t count) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(count),
                         arguments.positional.end());
  rest.keywords = arguments.keywords;
  return rest;
}

Result MapAttribute(Call& call, const Value& attribute) {
  for (const auto& [name, unused] : call.arguments.keywords) {
    if (name.bytes() != "attribute" && name.bytes() != "default") {
      return call.Error(fmt::format("has no parameter '{}'", name.bytes()));
    }
  }
  Runtime* const runtime = &call.runtime;
  ASSIGN_OR_RETURN(auto path, AttributePath::Parse(runtime, attribute));
  const Value* given = call.arguments.Keyword("default");
  std::optional<Value> otherwise;
  if (given != nullptr && !given->Is(Kind::kNone)) otherwise = *given;
  return Transform(call, [=, path = std::move(path)](Value* element) -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(*element, path.Get(runtime, *element, otherwise ? &*otherwise : nullptr));
    return true;
  });
}

Result Map(Call& call) {
  const Arguments& arguments = call.arguments;
  if (arguments.positional.empty()) {
    if (const Value* attribute = arguments.Keyword("attribute")) return MapAttribute(call, *attribute);
    return call.Error("needs a filter or an attribute");
  }
  const Value& name = arguments.positional[0];
  const Builtin* filter = name.Is(Kind::kText) ? FindFilter(name.bytes()) : nullptr;
  const bool any = Truth(call.self);
  if (filter == nullptr && any) return call.Error("knows no such filter");
  Runtime* const runtime = &call.runtime;
  return Transform(call,
                   [runtime, filter, rest = Rest(arguments, 1)](Value* element) -> absl::StatusOr<bool> {
                     const Value operand = *element;
                     ASSIGN_OR_RETURN(*element, CallBuiltin(runtime, *filter, operand, rest));
                     return true;
                   });
}

// select, reject, selectattr and rejectattr.
template <bool kKeep, bool kAttribute>
Result Select(Call& call) {
  const auto& positional = call.arguments.positional;
  const size_t place = kAttribute ? 1 : 0;
  if (kAttribute && positional.empty())
    return Truth(call.self) ? call.Error("needs an attribute") : Transform(call, {});
  Runtime* const runtime = &call.runtime;
  ASSIGN_OR_RETURN(auto path, AttributePath::Parse(runtime, kAttribute ? positional[0] : Value::None()));
  const Builtin* test = nullptr;
  Arguments rest;
  if (positional.size() > place) {
    const Value& name = positional[place];
    test = name.Is(Kind::kText) ? FindTest(name.bytes()) : nullptr;
    if (test == nullptr && Truth(call.self)) return call.Error("knows no such test");
    rest = Rest(call.arguments, place + 1);
  }
  return Transform(
      call, [=, path = std::move(path), rest = std::move(rest)](Value* element) -> absl::StatusOr<bool> {
        ASSIGN_OR_RETURN(const Value tested, path.Get(runtime, *element));
        if (test == nullptr) return Truth(tested) == kKeep;
        ASSIGN_OR_RETURN(const Value passes, CallBuiltin(runtime, *test, tested, rest));
        return Truth(passes) == kKeep;
      });
}

Result Unique(Call& call) {
  Runtime* const runtime = &call.runtime;
  ASSIGN_OR_RETURN(auto path, AttributePath::Parse(runtime, call.Given(1) ? *call.Arg(1) : Value::None()));
  const bool case_sensitive = call.True(0, false);
  Dict* const seen = runtime->heap.New<Dict>();
  ASSIGN_OR_RETURN(Iterator* const source, Iterate(runtime, call.self));
  const auto is_new = [=, path = std::move(path)](Value* element) -> absl::StatusOr<bool> {
    ASSIGN_OR_RETURN(Value key, path.Get(runtime, *element));
    if (!case_sensitive) key = WithoutCase(runtime, key);
    const size_t before = seen->items.size();
    RETURN_IF_ERROR(seen->Set(key, Value::None()));
    runtime->heap.Charge(4 * sizeof(Value));
    return seen->items.size() > before;
  };
  return Value::Of(Kind::kIterator, runtime->heap.New<Transformed>(runtime, source, is_new));
}

Result OverList(Call& call, std::vector<Value> items) {
  ASSIGN_OR_RETURN(Iterator* const iterator,
                   Iterate(&call.runtime, call.runtime.heap.NewList(std::move(items))));
  return Value::Of(Kind::kIterator, iterator);
}

Result Items(Call& call) {
  std::vector<Value> pairs;
  if (call.self.Is(Kind::kUndefined)) return OverList(call, {});
  if (!call.self.Is(Kind::kDict)) return call.Error("needs a dict");
  for (const auto& [key, value] : call.self.dict().items)
    pairs.push_back(call.runtime.heap.NewTuple({key, value}));
  return OverList(call, std::move(pairs));
}

// Lists of `linecount` elements, the last filled up.
Result Batch(Call& call) {
  ASSIGN_OR_RETURN(const int64_t count, call.Int(0, 0));
  ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, call.self));
  std::vector<Value> batches, batch;
  for (const Value& item : items) {
    if (static_cast<int64_t>(batch.size()) == count) {
      batches.push_back(call.runtime.heap.NewList(std::exchange(batch, {})));
    }
    batch.push_back(item);
  }
  if (!batch.empty()) {
    const bool fill = call.Given(1) && !call.Arg(1)->Is(Kind::kNone);
    if (count > 100'000) return call.Error("more than 100000 elements");
    while (fill && static_cast<int64_t>(batch.size()) < count) batch.push_back(*call.Arg(1));
    batches.push_back(call.runtime.heap.NewList(std::move(batch)));
  }
  return OverList(call, std::move(batches));
}

// `slices` lists of about as many elements each.
Result Slice(Call& call) {
  ASSIGN_OR_RETURN(const int64_t slices, call.Int(0, 0));
  ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, call.self));
  if (slices == 0) return call.Error("a division by zero");
  if (slices > 100'000) return call.Error("more than 100000 slices");
  const bool fill = call.Given(1) && !call.Arg(1)->Is(Kind::kNone);
  const int64_t each = static_cast<int64_t>(items.size()) / slices,
                longer = static_cast<int64_t>(items.size()) % slices;
  std::vector<Value> out;
  auto next = items.begin();
  for (int64_t i = 0; i < slices; ++i) {
    const int64_t size = each + (i < longer ? 1 : 0);
    std::vector<Value> slice(next, next + size);
    next += size;
    if (fill && i >= longer) slice.push_back(*call.Arg(1));
    out.push_back(call.runtime.heap.NewList(std::move(slice)));
  }
  return OverList(call, std::move(out));
}

constexpr Builtin kFilters[] = {
    {"map", Map, "*"},
    {"select", Select<true, false>, "*"},
    {"reject", Select<false, false>, "*"},
    {"selectattr", Select<true, true>, "*"},
    {"rejectattr", Select<false, true>, "*"},
    {"unique", Unique, "case_sensitive attribute"},
    {"items", Items},
    {"batch", Batch, "linecount fill_with", 1},
    {"slice", Slice, "slices fill_with", 1},
};

}  // namespace

std::span<const Builtin> LazyFilters() { return kFilters; }

}  // namespace hydrad::jinja
