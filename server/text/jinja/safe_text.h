// Strings that are marked safe (markupsafe's Markup).
//
// Nothing is escaped on its own in chat templates, so the mark shows in one place: '+' escapes what is joined
// to such a string. Most operations give a string without it.
#ifndef HYDRAD_SERVER_TEXT_JINJA_SAFE_TEXT_H_
#define HYDRAD_SERVER_TEXT_JINJA_SAFE_TEXT_H_

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// Appends `text` with & < > ' " as HTML has them.
void AppendEscaped(const Text& text, TextBuilder* out);
// What the builder has put together, marked.
Value SafeText(Runtime* runtime, TextBuilder* out);
// The value with the mark where it is a string, and so the strings of a list.
Value Marked(Runtime* runtime, const Value& value);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_SAFE_TEXT_H_
