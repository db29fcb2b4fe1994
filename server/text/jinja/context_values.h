// The context of a rendering, from JSON.
#ifndef HYDRAD_SERVER_TEXT_JINJA_CONTEXT_VALUES_H_
#define HYDRAD_SERVER_TEXT_JINJA_CONTEXT_VALUES_H_

#include <absl/status/status.h>

#include "server/base/json.h"
#include "server/text/jinja/evaluator.h"

namespace hydrad::jinja {

// Sets the variables of `context`, an object, that the template reads. Strings are marked as data, but for
// those at the top whose key ends in "_token". Errors name the key.
absl::Status FillContext(Runtime* runtime, const Json& context, const Symbols& symbols, Scope* root);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_CONTEXT_VALUES_H_
