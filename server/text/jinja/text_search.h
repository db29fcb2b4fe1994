// Methods of strings that look for others in them, and that split them.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEXT_SEARCH_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEXT_SEARCH_H_

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// startswith, endswith, find, rfind, index, rindex, count, split, rsplit, partition, rpartition; or null.
const Builtin* FindSearchMethod(std::string_view name);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEXT_SEARCH_H_
