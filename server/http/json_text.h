// JSON written straight into a text, for what is sent with every token.
#ifndef HYDRAD_SERVER_HTTP_JSON_TEXT_H_
#define HYDRAD_SERVER_HTTP_JSON_TEXT_H_

#include <string>
#include <string_view>

namespace hydrad {

// Appends `text` in quotation marks, escaped. REQUIRES: it is UTF-8.
void AppendQuoted(std::string_view text, std::string* out);
std::string Quoted(std::string_view text);

// Appends a number as briefly as it reads back the same. What is not finite becomes null.
void AppendNumber(double value, std::string* out);

// The text of a token's bytes: as they are where they are UTF-8, else "bytes:\xe2\x96" in digits, so that no
// two tokens look the same.
std::string TokenText(std::string_view bytes);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_JSON_TEXT_H_
