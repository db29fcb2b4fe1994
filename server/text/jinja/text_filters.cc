// Filters on strings. Each takes any value, whose str() it works on, unless it says otherwise.
#include <algorithm>

#include "server/base/status_macros.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/letter_case.h"
#include "server/text/jinja/printf_format.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/safe_text.h"
#include "server/text/jinja/text_methods.h"
#include "server/text/tokenizer/unicode.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result String(Call& call) { return ToText(&call.runtime, call.self); }

Result Safe(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  return Marked(&call.runtime, text);
}

// Escapes what is not marked safe, or, for forceescape, everything.
template <bool kForce>
Result Escape(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  if (text.text().safe && !kForce) return text;
  TextBuilder out = call.runtime.heap.Builder();
  AppendEscaped(text.text(), &out);
  return SafeText(&call.runtime, &out);
}

template <bool kUpper>
Result InCase(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  return Cased(&call.runtime, text.text(), kUpper);
}

Result Capitalize(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  return Capitalized(&call.runtime, text.text());
}

bool BeginsWord(uint32_t c) {
  return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || IsPythonSpace(c);
}

// Words begin behind white space and opening brackets, and each is put in case by itself.
Result Title(Call& call) {
  ASSIGN_OR_RETURN(const Value value, String(call));
  const Text& text = value.text();
  TextBuilder out = call.runtime.heap.Builder();
  for (size_t begin = 0; begin < text.bytes.size();) {
    size_t pos = begin;
    const bool separators = BeginsWord(NextCodePoint(text.bytes, &pos));
    const size_t first = pos;
    for (size_t next = pos; pos < text.bytes.size(); pos = next) {
      if (BeginsWord(NextCodePoint(text.bytes, &next)) != separators) break;
    }
    TextBuilder word = call.runtime.heap.Builder();
    word.Append(text, first, pos);
    AppendInCase(text, begin, first, LetterCase::kUpper, &out);
    const Text rest = word.Take();
    AppendInCase(rest, 0, rest.bytes.size(), LetterCase::kLower, &out);
    begin = pos;
  }
  return call.runtime.heap.NewText(&out);
}

Result Trim(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  const Text* set = nullptr;
  if (call.Given(0) && !call.Arg(0)->Is(Kind::kNone)) {
    ASSIGN_OR_RETURN(set, call.String(0));
  }
  return Stripped(&call.runtime, text.text(), set, true, true);
}

Result Replace(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  ASSIGN_OR_RETURN(const Value from, ToText(&call.runtime, *call.Arg(0)));
  ASSIGN_OR_RETURN(const Value to, ToText(&call.runtime, *call.Arg(1)));
  int64_t count = -1;
  if (call.Given(2) && !call.Arg(2)->Is(Kind::kNone)) {
    ASSIGN_OR_RETURN(count, call.Int(2, -1));
  }
  return Replaced(&call.runtime, text.text(), from.text(), to.text(), count);
}

Result Center(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  ASSIGN_OR_RETURN(const int64_t width, call.Int(0, 80));
  return Centered(&call.runtime, text.text(), width, Text(" "));
}

Result WordCount(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  int64_t count = 0;
  bool inside = false;
  for (size_t pos = 0; pos < text.bytes().size();) {
    const bool word = IsWordChar(NextCodePoint(text.bytes(), &pos));
    count += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value::Int(count);
}

// Needs a string.
Result Indent(Call& call) {
  if (call.self.Is(Kind::kUndefined)) return call.self.UndefinedError();
  if (!call.self.Is(Kind::kText)) return call.Error("needs a string");
  Text indention;
  if (call.Given(0) && call.Arg(0)->Is(Kind::kText)) {
    indention = call.Arg(0)->text();
  } else {
    ASSIGN_OR_RETURN(const int64_t width, call.Int(0, 4));
    if (width > 10'000) return call.Error("more than 10000 spaces");
    indention = Text(std::string(static_cast<size_t>(std::max<int64_t>(0, width)), ' '));
  }
  TextBuilder whole = call.runtime.heap.Builder();
  whole.Append(call.self.text());
  whole.Append("\n");
  const std::vector<Value> lines = Lines(&call.runtime, whole.Take(), /*keep_ends=*/false);
  const bool blank = call.True(2, false);
  TextBuilder out = call.runtime.heap.Builder();
  if (call.True(1, false)) out.Append(indention);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.Append("\n");
    if (i > 0 && (blank || !lines[i].bytes().empty())) out.Append(indention);
    out.Append(lines[i].text());
  }
  return call.runtime.heap.NewText(&out);
}

// Needs a string.
Result Truncate(Call& call) {
  if (call.self.Is(Kind::kUndefined)) return call.self;
  if (!call.self.Is(Kind::kText)) return call.Error("needs a string");
  ASSIGN_OR_RETURN(const int64_t length, call.Int(0, 255));
  Text end("...");
  if (call.Given(2)) {
    ASSIGN_OR_RETURN(const Text* given, call.String(2));
    end = *given;
  }
  int64_t leeway = 5;
  if (call.Given(3) && !call.Arg(3)->Is(Kind::kNone)) {
    ASSIGN_OR_RETURN(leeway, call.Int(3, 5));
  }
  const int64_t keep = length - static_cast<int64_t>(CharacterCount(end.bytes));
  if (keep < 0 || leeway < 0) return call.Error("the length is below that of the end, or the leeway below 0");
  const Text& text = call.self.text();
  if (static_cast<int64_t>(CharacterCount(text.bytes)) <= length + leeway) return call.self;
  size_t cut = ByteOfCharacter(text.bytes, static_cast<size_t>(keep));
  if (!call.True(1, false)) cut = std::min(cut, std::string_view(text.bytes).substr(0, cut).rfind(' '));
  TextBuilder out = call.runtime.heap.Builder();
  out.Append(text, 0, cut);
  out.Append(end);
  return call.runtime.heap.NewText(&out);
}

Result Format(Call& call) {
  ASSIGN_OR_RETURN(const Value text, String(call));
  const Arguments& arguments = call.arguments;
  if (arguments.keywords.empty()) {
    return FormatPercent(&call.runtime, text.text(), call.runtime.heap.NewTuple(arguments.positional));
  }
  if (!arguments.positional.empty()) return call.Error("needs arguments either with names or without");
  Dict* dict = call.runtime.heap.New<Dict>();
  for (const auto& [name, value] : arguments.keywords) RETURN_IF_ERROR(dict->Set(name, value));
  return FormatPercent(&call.runtime, text.text(), Value::Of(Kind::kDict, dict));
}

constexpr Builtin kFilters[] = {
    {"string", String},
    {"safe", Safe},
    {"escape", Escape<false>},
    {"e", Escape<false>},
    {"forceescape", Escape<true>},
    {"upper", InCase<true>},
    {"lower", InCase<false>},
    {"capitalize", Capitalize},
    {"title", Title},
    {"trim", Trim, "chars"},
    {"replace", Replace, "old new count", 2},
    {"center", Center, "width"},
    {"wordcount", WordCount},
    {"indent", Indent, "width first blank"},
    {"truncate", Truncate, "length killwords end leeway"},
    {"format", Format, "*"},
};

}  // namespace

std::span<const Builtin> TextFilters() { return kFilters; }

}  // namespace hydrad::jinja
