// What a template can call: filters, tests, methods and functions of ours, and its own macros.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_CALLABLE_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_CALLABLE_H_

#include <absl/status/statusor.h>

#include <array>
#include <chrono>
#include <functional>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/jinja/template_heap.h"
#include "server/text/jinja/template_value.h"

namespace hydrad::jinja {

// What one rendering carries along.
struct Runtime {
  Heap heap;
  const std::chrono::system_clock::time_point now;
  int depth = 0;  // how deep values, expressions and statements are nested just now
};

// Counts one level of nesting for as long as it lives.
class Nesting {
 public:
  static constexpr int kMax = 400;

  explicit Nesting(Runtime* runtime) : runtime_(runtime) { ++runtime_->depth; }
  ~Nesting() { --runtime_->depth; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;
  // An error where the limit is passed.
  absl::Status status() const;

 private:
  Runtime* const runtime_;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<Value, Value>> keywords;  // name (a string), value

  const Value* Keyword(std::string_view name) const;
};

struct Builtin;

// One call of a builtin, its arguments bound to parameters.
class Call {
 public:
  static constexpr int kMaxParameters = 6;

  Call(Runtime* runtime, const Builtin& builtin, const Value& self, const Arguments& arguments)
      : runtime(*runtime), self(self), arguments(arguments), builtin_(builtin) {}
  // Binds the arguments; errors are those of a Python call.
  absl::Status Bind();

  // The argument, or null where it is not given.
  const Value* Arg(int index) const { return bound_[index]; }
  bool Given(int index) const { return bound_[index] != nullptr; }
  // The argument as an integer or a truth; the default where it is not given. Errors name the parameter.
  absl::StatusOr<int64_t> Int(int index, int64_t otherwise) const;
  bool True(int index, bool otherwise) const;
  // The argument as a string. REQUIRES: it is given.
  absl::StatusOr<const Text*> String(int index) const;
  // An error that begins with the builtin's name.
  absl::Status Error(std::string_view text) const;

  Runtime& runtime;
  const Value& self;           // what a filter, a test or a method is applied to
  const Arguments& arguments;  // as they came, for builtins that take any

 private:
  std::string_view Parameter(int index) const;

  const Builtin& builtin_;
  std::array<const Value*, kMaxParameters> bound_{};
};

// A function of ours.
struct Builtin {
  std::string_view name;
  absl::StatusOr<Value> (*run)(Call& call);
  // Names of the parameters, apart by spaces; "*" takes any arguments, which then stay in Call::arguments.
  std::string_view parameters = "";
  int required = 0;  // how many must be given
};

absl::StatusOr<Value> CallBuiltin(Runtime* runtime, const Builtin& builtin, const Value& self,
                                  const Arguments& arguments);

// A value that can be called.
struct Callable : Object {
  std::function<absl::StatusOr<Value>(const Arguments&)> run;
};
Value NewCallable(Runtime* runtime, std::function<absl::StatusOr<Value>(const Arguments&)> run);
// The builtin as a value; `self` is kept.
Value NewCallable(Runtime* runtime, const Builtin& builtin, Value self);

// The builtin of a list, or null.
template <class Builtins>
const Builtin* FindBuiltin(const Builtins& builtins, std::string_view name) {
  for (const Builtin& builtin : builtins) {
    if (builtin.name == name) return &builtin;
  }
  return nullptr;
}

// What an iteration over the value gives. Errors: the value has no elements.
absl::StatusOr<std::vector<Value>> Elements(Runtime* runtime, const Value& value);
// The iterator itself, or one over the elements of the value.
absl::StatusOr<Iterator*> Iterate(Runtime* runtime, const Value& value);
// The number of elements, where the value knows it.
absl::StatusOr<int64_t> Length(const Value& value);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_CALLABLE_H_
