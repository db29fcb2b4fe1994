// Numbers and strings in a field of a format.
#ifndef HYDRAD_SERVER_TEXT_JINJA_NUMBER_FORMAT_H_
#define HYDRAD_SERVER_TEXT_JINJA_NUMBER_FORMAT_H_

#include <absl/status/statusor.h>

#include <string>
#include <string_view>

#include "server/text/jinja/template_callable.h"

namespace hydrad::jinja {

// What a field of a format asks for. Both kinds of format have such fields.
struct FieldFormat {
  std::string fill = " ";  // one character
  char align = '\0';       // < > ^ =, or 0 for the usual of the value
  char sign = '-';         // '+', '-' or ' '
  bool alternate = false;  // '#'
  bool grouped = false;    // ','
  int64_t width = 0;       // characters; at most kMaxWidth
  int64_t precision = -1;
  char type = '\0';
};
inline constexpr int64_t kMaxWidth = 10'000;

// Reads "[[fill]align][sign][#][0][width][,][.precision][type]".
absl::StatusOr<FieldFormat> ParseFieldFormat(std::string_view spec);
// The digits of an integer (types d x X o b) or a float (e E f F g G %, or none) with sign, without padding.
absl::StatusOr<std::string> FormatInteger(int64_t value, const FieldFormat& field);
absl::StatusOr<std::string> FormatReal(double value, const FieldFormat& field);
// Appends `text` padded to the width; `is_number`: its usual alignment is right, and '=' pads behind the
// sign.
void AppendPadded(const Text& text, const FieldFormat& field, bool is_number, TextBuilder* out);

}  // namespace hydrad::jinja

#endif  // HYDRAD_SERVER_TEXT_JINJA_NUMBER_FORMAT_H_
