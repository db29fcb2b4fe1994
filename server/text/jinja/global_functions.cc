#include "server/text/jinja/global_functions.h"

#include <fmt/core.h>

#include <ctime>

#include "server/base/status_macros.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/template_error.h"

namespace hydrad::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as jinja2's sandbox has it

absl::StatusOr<Value> MakeRange(Call& call) {
  const auto& arguments = call.arguments.positional;
  if (arguments.empty() || arguments.size() > 3 || !call.arguments.keywords.empty()) {
    return call.Error("needs one to three arguments");
  }
  for (const Value& argument : arguments) {
    if (argument.Is(Kind::kUndefined)) return argument.UndefinedError();
    if (!argument.IsInteger()) return call.Error("needs integers");
  }
  Range* range = call.runtime.heap.New<Range>();
  range->start = arguments.size() > 1 ? arguments[0].integer() : 0;
  range->stop = arguments[arguments.size() > 1 ? 1 : 0].integer();
  range->step = arguments.size() > 2 ? arguments[2].integer() : 1;
  if (range->step == 0) return call.Error("the step is zero");
  if (range->length() > kMaxRange) return call.Error(fmt::format("more than {} elements", kMaxRange));
  return Value::Of(Kind::kRange, range);
}

// Adds what a call of dict() or namespace() names.
absl::Status FillDict(Call& call, Dict* dict) {
  if (call.arguments.positional.size() > 1) return call.Error("takes at most one argument without a name");
  for (const Value& from : call.arguments.positional) {
    if (from.Is(Kind::kDict) || from.Is(Kind::kNamespace)) {
      for (const auto& [key, value] : from.dict().items) RETURN_IF_ERROR(dict->Set(key, value));
      continue;
    }
    ASSIGN_OR_RETURN(const auto pairs, Elements(&call.runtime, from));
    for (const Value& pair : pairs) {
      ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, pair));
      if (items.size() != 2) return call.Error("needs pairs of a key and a value");
      RETURN_IF_ERROR(dict->Set(items[0], items[1]));
    }
  }
  for (const auto& [name, value] : call.arguments.keywords) RETURN_IF_ERROR(dict->Set(name, value));
  call.runtime.heap.Charge(dict->items.size() * 4 * sizeof(Value));
  return absl::OkStatus();
}

absl::StatusOr<Value> MakeDict(Call& call) {
  Dict* dict = call.runtime.heap.New<Dict>();
  RETURN_IF_ERROR(FillDict(call, dict));
  return Value::Of(Kind::kDict, dict);
}

absl::StatusOr<Value> MakeNamespace(Call& call) {
  Dict* dict = call.runtime.heap.New<Dict>();
  RETURN_IF_ERROR(FillDict(call, dict));
  for (const auto& [name, unused] : dict->items) {
    if (name.Is(Kind::kText) && name.bytes().starts_with('_')) {
      return call.Error(fmt::format("the attribute '{}' begins with '_'", name.bytes()));
    }
  }
  return Value::Of(Kind::kNamespace, dict);
}

absl::StatusOr<Value> RaiseException(Call& call) {
  ASSIGN_OR_RETURN(const Value message, ToText(&call.runtime, *call.Arg(0)));
  return RaisedError(message.bytes());
}

absl::StatusOr<Value> StrftimeNow(Call& call) {
  ASSIGN_OR_RETURN(const Text* format, call.String(0));
  if (format->bytes.empty()) return call.runtime.heap.NewText("");
  const std::time_t seconds = std::chrono::system_clock::to_time_t(call.runtime.now);
  std::tm local;
  if (localtime_r(&seconds, &local) == nullptr) return call.Error("the time is out of range");
  std::string out(256 + 16 * format->bytes.size(), '\0');
  if (out.size() > 1 << 16) return call.Error("the format is too long");
  out.resize(std::strftime(out.data(), out.size(), format->bytes.c_str(), &local));
  return call.runtime.heap.NewText(out);
}

constexpr Builtin kFunctions[] = {
    {"range", MakeRange, "*"},
    {"dict", MakeDict, "*"},
    {"namespace", MakeNamespace, "*"},
    {"raise_exception", RaiseException, "message", 1},
    {"strftime_now", StrftimeNow, "format", 1},
};

}  // namespace

const Builtin* FindGlobalFunction(std::string_view name) { return FindBuiltin(kFunctions, name); }

}  // namespace hydrad::jinja
