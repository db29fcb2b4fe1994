// Parses a template.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_PARSER_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_PARSER_H_

#include <absl/status/statusor.h>

#include <string_view>

#include "server/text/jinja/template_ast.h"

namespace hydrad::jinja {

// Errors say the line, and name what is wrong or what we do not have.
absl::StatusOr<Template> ParseTemplate(std::string_view source);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEMPLATE_PARSER_H_
