// Methods of lists and dicts that change nothing.
#ifndef HYDRAD_SERVER_TEXT_JINJA_CONTAINER_METHODS_H_
#define HYDRAD_SERVER_TEXT_JINJA_CONTAINER_METHODS_H_

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// The method, or null.
const Builtin* FindListMethod(std::string_view name);  // of tuples too
const Builtin* FindDictMethod(std::string_view name);
// Whether Python's dict has a method of this name that changes it. A template cannot call it, and it hides an
// element of the same key.
bool IsChangingDictMethod(std::string_view name);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_CONTAINER_METHODS_H_
