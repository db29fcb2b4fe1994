// Sorting of values.
#ifndef HYDRAD_SERVER_TEXT_JINJA_SORTING_H_
#define HYDRAD_SERVER_TEXT_JINJA_SORTING_H_

#include <absl/status/status.h>

#include <vector>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// Sorts `items` by `keys`, one for each; equal ones keep their order, with `reverse` too. Errors: keys that
// cannot be compared.
absl::Status SortByKeys(Runtime* runtime, std::vector<Value> keys, bool reverse, std::vector<Value>* items);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_SORTING_H_
