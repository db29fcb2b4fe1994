// Which variables of the context a body hides.
#ifndef HYDRAD_SERVER_TEXT_JINJA_HIDDEN_NAMES_H_
#define HYDRAD_SERVER_TEXT_JINJA_HIDDEN_NAMES_H_

#include "server/text/jinja/template_ast.h"

namespace hydrad::jinja {

// Fills in the `hidden` of the template and of its statements. jinja2 decides when it compiles a template
// which variables are a body's own: one that is set in the body before it is read there is undefined from the
// body's beginning on, whatever the context has of that name, unless a body around it uses the name too or
// the setting stands in a branch of an 'if'. It can be noticed in bodies inside, which count as later.
void FindHiddenNames(Template* source);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_HIDDEN_NAMES_H_
