// Functions that a template may call by name.
#ifndef HYDRAD_SERVER_TEXT_JINJA_GLOBAL_FUNCTIONS_H_
#define HYDRAD_SERVER_TEXT_JINJA_GLOBAL_FUNCTIONS_H_

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// range, dict, namespace, raise_exception or strftime_now; null for any other name.
const Builtin* FindGlobalFunction(std::string_view name);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_GLOBAL_FUNCTIONS_H_
