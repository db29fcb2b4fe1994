// What jinja2 or Python would have and we do not, by name, so that it is refused when a template is parsed.
#ifndef HYDRAD_SERVER_TEXT_JINJA_REFUSED_NAMES_H_
#define HYDRAD_SERVER_TEXT_JINJA_REFUSED_NAMES_H_

#include <absl/status/status.h>

#include "server/text/jinja/template_ast.h"
#include "server/text/jinja/token_stream.h"

namespace hydrad::jinja {

// An error at the current line where `callee`, which is about to be called, is such a function or method.
absl::Status RefuseCall(const Expression& callee, const Symbols& symbols, const TokenStream& stream);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_REFUSED_NAMES_H_
