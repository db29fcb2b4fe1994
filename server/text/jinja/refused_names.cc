#include "server/text/jinja/refused_names.h"

#include <string_view>

namespace hydrad::jinja {

absl::Status RefuseCall(const Expression& callee, const Symbols& symbols, const TokenStream& stream) {
  if (callee.type == Expression::Type::kName) {
    const std::string& name = symbols.Name(callee.symbol)->bytes;
    for (const std::string_view missing :
         {"lipsum", "cycler", "joiner", "super", "self", "_", "gettext", "ngettext"}) {
      if (name == missing) return stream.Error("the function '{}' is not supported", name);
    }
  }
  if (callee.type == Expression::Type::kAttribute) {
    const std::string& name = callee.constant.bytes();
    for (const std::string_view missing :
         {"encode", "decode", "format_map", "translate", "maketrans", "fromkeys"}) {
      if (name == missing) return stream.Error("the method '{}' is not supported", name);
    }
  }
  return absl::OkStatus();
}

}  // namespace hydrad::jinja
