#include "server/text/jinja/loop_attributes.h"

#include "server/base/status_macros.h"
#include "server/text/jinja/python_operators.h"

namespace hydrad::jinja {
namespace {

// How many elements the loop visits in all. What is not known yet is fetched.
absl::StatusOr<int64_t> LoopLength(Runtime* runtime, Loop* loop) {
  while (!loop->length) {
    if (loop->ended) {
      loop->length = loop->index0 + 1 + static_cast<int64_t>(loop->ahead.size());
      break;
    }
    Value next;
    ASSIGN_OR_RETURN(const bool found, loop->fetch(&next));
    runtime->heap.Charge(sizeof(Value));
    RETURN_IF_ERROR(runtime->heap.status());
    if (found) {
      loop->ahead.push_back(std::move(next));
    } else {
      loop->ended = true;
    }
  }
  return *loop->length;
}

absl::StatusOr<Value> Cycle(Call& call) {
  const auto& values = call.arguments.positional;
  if (values.empty()) return call.Error("needs values");
  return values[static_cast<size_t>(call.self.loop().index0) % values.size()];
}

absl::StatusOr<Value> Changed(Call& call) {
  Loop& loop = call.self.loop();
  bool same = loop.last_changed && loop.last_changed->size() == call.arguments.positional.size();
  for (size_t i = 0; same && i < loop.last_changed->size(); ++i) {
    ASSIGN_OR_RETURN(same, Equal(&call.runtime, (*loop.last_changed)[i], call.arguments.positional[i]));
  }
  if (!same) loop.last_changed = call.arguments.positional;
  return Value::Bool(!same);
}

constexpr Builtin kMethods[] = {{"cycle", Cycle, "*"}, {"changed", Changed, "*"}};

}  // namespace

absl::StatusOr<Value> LoopAttribute(Runtime* runtime, const Value& value, std::string_view name,
                                    bool* known) {
  Loop& loop = value.loop();
  *known = true;
  if (name == "index") return Value::Int(loop.index0 + 1);
  if (name == "index0") return Value::Int(loop.index0);
  if (name == "first") return Value::Bool(loop.index0 == 0);
  if (name == "depth") return Value::Int(loop.depth0 + 1);
  if (name == "depth0") return Value::Int(loop.depth0);
  if (name == "previtem") return loop.index0 == 0 ? Value() : loop.previous;
  if (name == "last" || name == "nextitem") {
    ASSIGN_OR_RETURN(const bool more, loop.Peek());
    if (name == "last") return Value::Bool(!more);
    return more ? loop.ahead.front() : Value();
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    ASSIGN_OR_RETURN(const int64_t length, LoopLength(runtime, &loop));
    return Value::Int(name == "length" ? length : length - loop.index0 - (name == "revindex0" ? 1 : 0));
  }
  if (const Builtin* method = FindBuiltin(kMethods, name)) return NewCallable(runtime, *method, value);
  *known = false;
  return Value();
}

}  // namespace hydrad::jinja
