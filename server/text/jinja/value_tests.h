// Tests: what stands behind "is".
#ifndef HYDRAD_SERVER_TEXT_JINJA_VALUE_TESTS_H_
#define HYDRAD_SERVER_TEXT_JINJA_VALUE_TESTS_H_

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// The test, whose result is a bool; null for a name that we do not have.
const Builtin* FindTest(std::string_view name);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_VALUE_TESTS_H_
