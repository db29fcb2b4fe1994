// Filters on what has elements.
#include <algorithm>

#include "server/base/status_macros.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/python_operators.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/sorting.h"
#include "server/text/jinja/subscripts.h"

namespace hydrad::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result LengthOf(Call& call) {
  ASSIGN_OR_RETURN(const int64_t length, Length(call.self));
  return Value::Int(length);
}

Result List(Call& call) {
  ASSIGN_OR_RETURN(auto items, Elements(&call.runtime, call.self));
  return call.runtime.heap.NewList(std::move(items));
}

Result First(Call& call) {
  ASSIGN_OR_RETURN(Iterator* const items, Iterate(&call.runtime, call.self));
  Value first;
  ASSIGN_OR_RETURN(const bool found, items->Next(&first));
  return found ? first : Value();
}

Result Last(Call& call) {
  if (call.self.Is(Kind::kIterator)) return call.Error("does not go with a generator");
  ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, call.self));
  return items.empty() ? Value() : items.back();
}

Result Reverse(Call& call) {
  ASSIGN_OR_RETURN(auto items, Elements(&call.runtime, call.self));
  std::reverse(items.begin(), items.end());
  Heap& heap = call.runtime.heap;
  if (call.self.Is(Kind::kText)) {
    TextBuilder out = heap.Builder();
    for (const Value& character : items) out.Append(character.text());
    return heap.NewText(&out);
  }
  const Value list = heap.NewList(std::move(items));
  if (call.self.Is(Kind::kIterator) || call.self.Is(Kind::kUndefined)) return list;
  ASSIGN_OR_RETURN(Iterator* const iterator, Iterate(&call.runtime, list));
  return Value::Of(Kind::kIterator, iterator);
}

Result Join(Call& call) {
  ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, call.self));
  ASSIGN_OR_RETURN(const auto path,
                   AttributePath::Parse(&call.runtime, call.Given(1) ? *call.Arg(1) : Value::None()));
  Value between = call.runtime.heap.NewText("");
  if (call.Given(0)) {
    ASSIGN_OR_RETURN(between, ToText(&call.runtime, *call.Arg(0)));
  }
  TextBuilder out = call.runtime.heap.Builder();
  for (size_t i = 0; i < items.size() && !out.overflowed(); ++i) {
    if (i > 0) out.Append(between.text());
    ASSIGN_OR_RETURN(const Value item, path.Get(&call.runtime, items[i]));
    RETURN_IF_ERROR(AppendText(&call.runtime, item, &out));
  }
  return call.runtime.heap.NewText(&out);
}

// The filters sort and dictsort, min, max and groupby compare such keys.
Result KeyOf(Call& call, const AttributePath& path, const Value& item, bool case_sensitive,
             const Value* otherwise = nullptr) {
  ASSIGN_OR_RETURN(Value key, path.Get(&call.runtime, item, otherwise));
  return case_sensitive ? key : WithoutCase(&call.runtime, key);
}

// "a,b.c": the paths between commas.
absl::StatusOr<std::vector<AttributePath>> ParsePaths(Call& call, const Value& attribute) {
  std::vector<Value> parts = {attribute};
  if (attribute.Is(Kind::kText)) {
    parts.clear();
    const std::string& text = attribute.bytes();
    for (size_t begin = 0; begin <= text.size();) {
      const size_t end = std::min(text.find(',', begin), text.size());
      parts.push_back(call.runtime.heap.NewText(std::string_view(text).substr(begin, end - begin)));
      begin = end + 1;
    }
  }
  std::vector<AttributePath> paths;
  for (const Value& part : parts) {
    ASSIGN_OR_RETURN(auto path, AttributePath::Parse(&call.runtime, part));
    paths.push_back(std::move(path));
  }
  return paths;
}

Result Sort(Call& call) {
  ASSIGN_OR_RETURN(auto items, Elements(&call.runtime, call.self));
  ASSIGN_OR_RETURN(const auto paths, ParsePaths(call, call.Given(2) ? *call.Arg(2) : Value::None()));
  const bool case_sensitive = call.True(1, false);
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const AttributePath& path : paths) {
      ASSIGN_OR_RETURN(Value part, KeyOf(call, path, item, case_sensitive));
      key.push_back(std::move(part));
    }
    keys.push_back(call.runtime.heap.NewList(std::move(key)));
  }
  RETURN_IF_ERROR(SortByKeys(&call.runtime, std::move(keys), call.True(0, false), &items));
  return call.runtime.heap.NewList(std::move(items));
}

Result DictSort(Call& call) {
  if (!call.self.Is(Kind::kDict)) return call.Error("needs a dict");
  const bool by_value = call.Given(1) && call.Arg(1)->IsText("value");
  if (call.Given(1) && !by_value && !call.Arg(1)->IsText("key"))
    return call.Error("sorts by 'key' or 'value'");
  std::vector<Value> items, keys;
  for (const auto& [key, value] : call.self.dict().items) {
    items.push_back(call.runtime.heap.NewTuple({key, value}));
    const Value& by = by_value ? value : key;
    keys.push_back(call.True(0, false) ? by : WithoutCase(&call.runtime, by));
  }
  RETURN_IF_ERROR(SortByKeys(&call.runtime, std::move(keys), call.True(2, false), &items));
  return call.runtime.heap.NewList(std::move(items));
}

template <bool kMax>
Result Extreme(Call& call) {
  ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, call.self));
  ASSIGN_OR_RETURN(const auto path,
                   AttributePath::Parse(&call.runtime, call.Given(1) ? *call.Arg(1) : Value::None()));
  Value best, best_key;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(Value key, KeyOf(call, path, items[i], call.True(0, false)));
    if (i > 0) {
      ASSIGN_OR_RETURN(const bool better,
                       kMax ? Less(&call.runtime, best_key, key) : Less(&call.runtime, key, best_key));
      if (!better) continue;
    }
    best = items[i];
    best_key = std::move(key);
  }
  return best;
}

Result Sum(Call& call) {
  ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, call.self));
  ASSIGN_OR_RETURN(const auto path,
                   AttributePath::Parse(&call.runtime, call.Given(0) ? *call.Arg(0) : Value::None()));
  Value sum = call.Given(1) ? *call.Arg(1) : Value::Int(0);
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value part, path.Get(&call.runtime, item));
    ASSIGN_OR_RETURN(sum, Arithmetic(&call.runtime, "+", sum, part));
    RETURN_IF_ERROR(call.runtime.heap.status());
  }
  return sum;
}

Result GroupBy(Call& call) {
  ASSIGN_OR_RETURN(auto items, Elements(&call.runtime, call.self));
  ASSIGN_OR_RETURN(const auto path, AttributePath::Parse(&call.runtime, *call.Arg(0)));
  const Value* otherwise = call.Given(1) && !call.Arg(1)->Is(Kind::kNone) ? call.Arg(1) : nullptr;
  const bool case_sensitive = call.True(2, false);
  std::vector<Value> keys;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(Value key, KeyOf(call, path, item, case_sensitive, otherwise));
    keys.push_back(std::move(key));
  }
  RETURN_IF_ERROR(SortByKeys(&call.runtime, std::move(keys), /*reverse=*/false, &items));
  Heap& heap = call.runtime.heap;
  std::vector<Value> groups;
  Value group_key;
  for (const Value& item : items) {
    ASSIGN_OR_RETURN(const Value key, KeyOf(call, path, item, case_sensitive, otherwise));
    bool same = !groups.empty();
    if (same) {
      ASSIGN_OR_RETURN(same, Equal(&call.runtime, key, group_key));
    }
    if (!same) {
      group_key = key;
      ASSIGN_OR_RETURN(Value shown, path.Get(&call.runtime, item, otherwise));
      groups.push_back(heap.NewTuple({std::move(shown), heap.NewList({})}));
      groups.back().list().is_group = true;
    }
    groups.back().list().items[1].list().items.push_back(item);
  }
  heap.Charge(items.size() * sizeof(Value));
  return heap.NewList(std::move(groups));
}

constexpr Builtin kFilters[] = {
    {"length", LengthOf},
    {"count", LengthOf},
    {"list", List},
    {"first", First},
    {"last", Last},
    {"reverse", Reverse},
    {"join", Join, "d attribute"},
    {"sort", Sort, "reverse case_sensitive attribute"},
    {"dictsort", DictSort, "case_sensitive by reverse"},
    {"min", Extreme<false>, "case_sensitive attribute"},
    {"max", Extreme<true>, "case_sensitive attribute"},
    {"sum", Sum, "attribute start"},
    {"groupby", GroupBy, "attribute default case_sensitive", 1},
};

}  // namespace

std::span<const Builtin> ListFilters() { return kFilters; }

}  // namespace hydrad::jinja
