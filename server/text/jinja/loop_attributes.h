// What the variable `loop` has.
#ifndef HYDRAD_SERVER_TEXT_JINJA_LOOP_ATTRIBUTES_H_
#define HYDRAD_SERVER_TEXT_JINJA_LOOP_ATTRIBUTES_H_

#include <absl/status/statusor.h>

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// The attribute of a loop; `known` tells whether there is one of that name. REQUIRES: `value` is a loop.
absl::StatusOr<Value> LoopAttribute(Runtime* runtime, const Value& value, std::string_view name, bool* known);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_LOOP_ATTRIBUTES_H_
