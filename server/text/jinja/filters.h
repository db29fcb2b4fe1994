// Filters: what stands behind "|".
#ifndef HYDRAD_SERVER_TEXT_JINJA_FILTERS_H_
#define HYDRAD_SERVER_TEXT_JINJA_FILTERS_H_

#include <span>
#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// The filter; null for a name that we do not have.
const Builtin* FindFilter(std::string_view name);

// The filters by file.
std::span<const Builtin> TextFilters();
std::span<const Builtin> ListFilters();
std::span<const Builtin> LazyFilters();
std::span<const Builtin> NumberFilters();
std::span<const Builtin> JsonFilters();

// A path to what is inside a value, as the filters' parameter `attribute`: "name", "name.0.other" or a
// number.
class AttributePath {
 public:
  // `attribute` is a string or an integer; None leads to the value itself.
  static absl::StatusOr<AttributePath> Parse(Runtime* runtime, const Value& attribute);
  // What stands there, undefined (or `otherwise`, if given) where there is nothing.
  absl::StatusOr<Value> Get(Runtime* runtime, Value value, const Value* otherwise = nullptr) const;

 private:
  std::vector<Value> parts_;
};

// A string in lower case, any other value as it is: what is compared where the case does not count.
Value WithoutCase(Runtime* runtime, const Value& value);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_FILTERS_H_
