// Methods of strings.
#ifndef HYDRAD_SERVER_TEXT_JINJA_TEXT_METHODS_H_
#define HYDRAD_SERVER_TEXT_JINJA_TEXT_METHODS_H_

#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// The method of Python's str, or null.
const Builtin* FindTextMethod(std::string_view name);

// Parts that filters share with methods.

// `text` without the characters of `strip` (null: white space) at its ends.
Value Stripped(Runtime* runtime, const Text& text, const Text* strip, bool left, bool right);
// `text` with `from` replaced by `to`, at most `count` times unless negative.
Value Replaced(Runtime* runtime, const Text& text, const Text& from, const Text& to, int64_t count);
// The first character in title case, the rest in lower case.
Value Capitalized(Runtime* runtime, const Text& text);
// The lines of `text`, without their ends unless `keep_ends`.
std::vector<Value> Lines(Runtime* runtime, const Text& text, bool keep_ends);
// `text` with spaces (or `fill`) before and behind it up to `width` characters.
Value Padded(Runtime* runtime, const Text& text, int64_t before, int64_t behind, const Text& fill);
Value Centered(Runtime* runtime, const Text& text, int64_t width, const Text& fill);
// The whole of `text` in upper or lower case.
Value Cased(Runtime* runtime, const Text& text, bool upper);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_TEXT_METHODS_H_
