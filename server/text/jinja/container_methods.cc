#include "server/text/jinja/container_methods.h"

#include "server/base/status_macros.h"
#include "server/text/jinja/python_operators.h"

namespace hydrad::jinja {
namespace {

absl::StatusOr<Value> Count(Call& call) {
  int64_t count = 0;
  for (const Value& item : call.self.list().items) {
    ASSIGN_OR_RETURN(const bool equal, Equal(&call.runtime, item, *call.Arg(0)));
    count += equal ? 1 : 0;
  }
  return Value::Int(count);
}

absl::StatusOr<Value> Index(Call& call) {
  const std::vector<Value>& items = call.self.list().items;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(const bool equal, Equal(&call.runtime, items[i], *call.Arg(0)));
    if (equal) return Value::Int(static_cast<int64_t>(i));
  }
  return call.Error("the value is not in the list");
}

absl::StatusOr<Value> Copy(Call& call) {
  if (call.self.Is(Kind::kTuple)) return Value();
  return call.runtime.heap.NewList(call.self.list().items);
}

absl::StatusOr<Value> Get(Call& call) {
  ASSIGN_OR_RETURN(const Value* found, call.self.dict().Find(*call.Arg(0)));
  if (found != nullptr) return *found;
  return call.Given(1) ? *call.Arg(1) : Value::None();
}

Value View(Call& call, std::string_view name, bool keys, bool values) {
  auto* view = call.runtime.heap.New<jinja::View>();
  view->name = name;
  for (const auto& [key, value] : call.self.dict().items) {
    view->items.push_back(!values ? key : !keys ? value : call.runtime.heap.NewTuple({key, value}));
  }
  call.runtime.heap.Charge(view->items.size() * sizeof(Value));
  return Value::Of(Kind::kView, view);
}

absl::StatusOr<Value> Keys(Call& call) { return View(call, "dict_keys", true, false); }
absl::StatusOr<Value> Values(Call& call) { return View(call, "dict_values", false, true); }
absl::StatusOr<Value> Items(Call& call) { return View(call, "dict_items", true, true); }
absl::StatusOr<Value> CopyDict(Call& call) {
  call.runtime.heap.Charge(call.self.dict().items.size() * 4 * sizeof(Value));
  return Value::Of(Kind::kDict, call.runtime.heap.New<Dict>(call.self.dict()));
}

constexpr Builtin kListMethods[] = {
    {"count", Count, "value", 1}, {"index", Index, "value", 1}, {"copy", Copy}};
constexpr Builtin kDictMethods[] = {
    {"get", Get, "key default", 1}, {"keys", Keys}, {"values", Values}, {"items", Items}, {"copy", CopyDict}};

}  // namespace

const Builtin* FindListMethod(std::string_view name) { return FindBuiltin(kListMethods, name); }
const Builtin* FindDictMethod(std::string_view name) { return FindBuiltin(kDictMethods, name); }

bool IsChangingDictMethod(std::string_view name) {
  for (const std::string_view method : {"clear", "pop", "popitem", "setdefault", "update", "fromkeys"}) {
    if (name == method) return true;
  }
  return false;
}

}  // namespace hydrad::jinja
