#include "server/text/jinja/filters.h"

#include <charconv>

#include "server/base/status_macros.h"
#include "server/text/jinja/subscripts.h"
#include "server/text/jinja/text_methods.h"

namespace hydrad::jinja {

const Builtin* FindFilter(std::string_view name) {
  for (const auto filters : {TextFilters(), ListFilters(), LazyFilters(), NumberFilters(), JsonFilters()}) {
    if (const Builtin* filter = FindBuiltin(filters, name)) return filter;
  }
  return nullptr;
}

absl::StatusOr<AttributePath> AttributePath::Parse(Runtime* runtime, const Value& attribute) {
  AttributePath path;
  if (attribute.Is(Kind::kNone)) return path;
  if (!attribute.Is(Kind::kText)) {
    path.parts_.push_back(attribute);
    return path;
  }
  const std::string& text = attribute.bytes();
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    int64_t index = 0;
    const auto [stop, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number =
        !part.empty() && part[0] != '-' && error == std::errc() && stop == part.data() + part.size();
    path.parts_.push_back(number ? Value::Int(index) : runtime->heap.NewText(part));
    begin = end + 1;
  }
  return path;
}

absl::StatusOr<Value> AttributePath::Get(Runtime* runtime, Value value, const Value* otherwise) const {
  for (const Value& part : parts_) {
    ASSIGN_OR_RETURN(value, GetElement(runtime, value, part));
    if (otherwise != nullptr && value.Is(Kind::kUndefined)) value = *otherwise;
  }
  return value;
}

Value WithoutCase(Runtime* runtime, const Value& value) {
  return value.Is(Kind::kText) ? Cased(runtime, value.text(), /*upper=*/false) : value;
}

}  // namespace hydrad::jinja
