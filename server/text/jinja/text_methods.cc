#include "server/text/jinja/text_methods.h"

#include <algorithm>

#include "server/base/status_macros.h"
#include "server/text/jinja/letter_case.h"
#include "server/text/jinja/printf_format.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/text_search.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Heap& HeapOf(Call& call) { return call.runtime.heap; }

// The parameter of strip and its kin: a string, or null for white space.
absl::StatusOr<const Text*> StripSet(Call& call) {
  if (!call.Given(0) || call.Arg(0)->Is(Kind::kNone)) return nullptr;
  return call.String(0);
}

template <bool kLeft, bool kRight>
Result Strip(Call& call) {
  ASSIGN_OR_RETURN(const Text* set, StripSet(call));
  return Stripped(&call.runtime, call.self.text(), set, kLeft, kRight);
}

Result Upper(Call& call) { return Cased(&call.runtime, call.self.text(), true); }
Result Lower(Call& call) { return Cased(&call.runtime, call.self.text(), false); }
Result Capitalize(Call& call) { return Capitalized(&call.runtime, call.self.text()); }

Result WholeInCase(Call& call, LetterCase letter_case) {
  TextBuilder out = HeapOf(call).Builder();
  AppendInCase(call.self.text(), 0, call.self.bytes().size(), letter_case, &out);
  return HeapOf(call).NewText(&out);
}
Result Casefold(Call& call) { return WholeInCase(call, LetterCase::kFold); }

// Letters behind a cased one in lower case, all others in title case; or the other way round.
Result Title(Call& call) {
  const Text& text = call.self.text();
  TextBuilder out = HeapOf(call).Builder();
  bool inside = false;
  for (size_t pos = 0; pos < text.bytes.size();) {
    const size_t begin = pos;
    const uint32_t c = NextCodePoint(text.bytes, &pos);
    AppendInCase(text, begin, pos, inside ? LetterCase::kLower : LetterCase::kTitle, &out);
    inside = IsCased(c);
  }
  return HeapOf(call).NewText(&out);
}

Result SwapCase(Call& call) {
  const Text& text = call.self.text();
  TextBuilder out = HeapOf(call).Builder();
  for (size_t pos = 0; pos < text.bytes.size();) {
    const size_t begin = pos;
    const uint32_t c = NextCodePoint(text.bytes, &pos);
    AppendInCase(text, begin, pos, IsUpperLetter(c) ? LetterCase::kLower : LetterCase::kUpper, &out);
  }
  return HeapOf(call).NewText(&out);
}

Result Replace(Call& call) {
  ASSIGN_OR_RETURN(const Text* from, call.String(0));
  ASSIGN_OR_RETURN(const Text* to, call.String(1));
  ASSIGN_OR_RETURN(const int64_t count, call.Int(2, -1));
  return Replaced(&call.runtime, call.self.text(), *from, *to, count);
}

Result Join(Call& call) {
  ASSIGN_OR_RETURN(const auto items, Elements(&call.runtime, *call.Arg(0)));
  TextBuilder out = HeapOf(call).Builder();
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].Is(Kind::kText)) return call.Error("can join strings only");
    if (i > 0) out.Append(call.self.text());
    out.Append(items[i].text());
  }
  return HeapOf(call).NewText(&out);
}

// removeprefix and removesuffix.
template <bool kPrefix>
Result Remove(Call& call) {
  ASSIGN_OR_RETURN(const Text* part, call.String(0));
  const Text& text = call.self.text();
  const std::string& bytes = text.bytes;
  if (kPrefix ? !bytes.starts_with(part->bytes) : !bytes.ends_with(part->bytes)) return call.self;
  TextBuilder out = HeapOf(call).Builder();
  const size_t size = part->bytes.size();
  out.Append(text, kPrefix ? size : 0, kPrefix ? bytes.size() : bytes.size() - size);
  return HeapOf(call).NewText(&out);
}

Result SplitLines(Call& call) {
  return HeapOf(call).NewList(Lines(&call.runtime, call.self.text(), call.True(0, false)));
}

absl::StatusOr<Text> FillOf(Call& call, int index) {
  if (!call.Given(index)) return Text(" ");
  ASSIGN_OR_RETURN(const Text* fill, call.String(index));
  if (CharacterCount(fill->bytes) != 1) return call.Error("the fill must be one character");
  return *fill;
}

Result Center(Call& call) {
  ASSIGN_OR_RETURN(const int64_t width, call.Int(0, 0));
  ASSIGN_OR_RETURN(const Text fill, FillOf(call, 1));
  return Centered(&call.runtime, call.self.text(), width, fill);
}

template <bool kLeft>
Result Justify(Call& call) {
  ASSIGN_OR_RETURN(const int64_t width, call.Int(0, 0));
  ASSIGN_OR_RETURN(const Text fill, FillOf(call, 1));
  const int64_t missing = width - static_cast<int64_t>(CharacterCount(call.self.bytes()));
  return Padded(&call.runtime, call.self.text(), kLeft ? 0 : missing, kLeft ? missing : 0, fill);
}

Result ZeroFill(Call& call) {
  ASSIGN_OR_RETURN(const int64_t width, call.Int(0, 0));
  const Text& text = call.self.text();
  const bool sign = text.bytes.starts_with('-') || text.bytes.starts_with('+');
  const int64_t missing = width - static_cast<int64_t>(CharacterCount(text.bytes));
  TextBuilder rest = HeapOf(call).Builder();
  rest.Append(text, sign ? 1 : 0, text.bytes.size());
  const Value padded = Padded(&call.runtime, rest.Take(), missing, 0, Text("0"));
  TextBuilder out = HeapOf(call).Builder();
  out.Append(text, 0, sign ? 1 : 0);
  out.Append(padded.text());
  return HeapOf(call).NewText(&out);
}

Result ExpandTabs(Call& call) {
  ASSIGN_OR_RETURN(const int64_t width, call.Int(0, 8));
  const Text& text = call.self.text();
  TextBuilder out = HeapOf(call).Builder();
  int64_t column = 0;
  for (size_t pos = 0; pos < text.bytes.size() && !out.overflowed();) {
    const size_t begin = pos;
    const uint32_t c = NextCodePoint(text.bytes, &pos);
    if (c != '\t') {
      out.Append(text, begin, pos);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    } else if (width > 0) {
      const int64_t spaces = width - column % width;
      for (int64_t i = 0; i < spaces && !out.overflowed(); ++i) out.Append(" ");
      column += spaces;
    }
  }
  return HeapOf(call).NewText(&out);
}

template <bool (*kIs)(uint32_t), bool kEmpty = false>
Result All(Call& call) {
  const std::string& text = call.self.bytes();
  for (size_t pos = 0; pos < text.size();) {
    if (!kIs(NextCodePoint(text, &pos))) return Value::Bool(false);
  }
  return Value::Bool(kEmpty || !text.empty());
}
bool IsAscii(uint32_t c) { return c < 0x80; }

Result IsLower(Call& call) { return Value::Bool(IsLowerCase(call.self.bytes())); }
Result IsUpper(Call& call) { return Value::Bool(IsUpperCase(call.self.bytes())); }

Result IsTitle(Call& call) {
  const std::string& text = call.self.bytes();
  bool inside = false, found = false;
  for (size_t pos = 0; pos < text.size();) {
    const uint32_t c = NextCodePoint(text, &pos);
    if (IsCased(c) && IsUpperLetter(c) == inside) return Value::Bool(false);
    inside = IsCased(c);
    found |= inside;
  }
  return Value::Bool(found);
}

constexpr Builtin kMethods[] = {
    {"strip", Strip<true, true>, "chars"},
    {"lstrip", Strip<true, false>, "chars"},
    {"rstrip", Strip<false, true>, "chars"},
    {"upper", Upper},
    {"lower", Lower},
    {"capitalize", Capitalize},
    {"casefold", Casefold},
    {"title", Title},
    {"swapcase", SwapCase},
    {"replace", Replace, "old new count", 2},
    {"join", Join, "iterable", 1},
    {"removeprefix", Remove<true>, "prefix", 1},
    {"removesuffix", Remove<false>, "suffix", 1},
    {"splitlines", SplitLines, "keepends"},
    {"center", Center, "width fillchar", 1},
    {"ljust", Justify<true>, "width fillchar", 1},
    {"rjust", Justify<false>, "width fillchar", 1},
    {"zfill", ZeroFill, "width", 1},
    {"expandtabs", ExpandTabs, "tabsize"},
    {"format", FormatBraces, "*"},
    {"isalpha", All<IsLetter>},
    {"isdecimal", All<IsDecimalDigit>},
    {"isdigit", All<IsDigitLike>},
    {"isspace", All<IsPythonSpace>},
    {"isprintable", All<IsPrintable, true>},
    {"isascii", All<IsAscii, true>},
    {"islower", IsLower},
    {"isupper", IsUpper},
    {"istitle", IsTitle},
};

}  // namespace

Value Stripped(Runtime* runtime, const Text& text, const Text* strip, bool left, bool right) {
  const std::string_view all = text.bytes;
  size_t begin = 0, end = all.size();
  if (strip == nullptr) {
    const std::string_view rest = StripSpace(all, left, right);
    begin = rest.empty() ? 0 : static_cast<size_t>(rest.data() - all.data());
    end = begin + rest.size();
  } else {
    // A character's bytes stand in the set's text at no other place than as that character.
    while (left && begin < end &&
           strip->bytes.find(all.substr(begin, CharLength(all[begin]))) != std::string::npos) {
      begin += CharLength(all[begin]);
    }
    while (right && begin < end) {
      size_t last = end - 1;
      while ((all[last] & 0xc0) == 0x80) --last;
      if (strip->bytes.find(all.substr(last, end - last)) == std::string::npos) break;
      end = last;
    }
  }
  TextBuilder out = runtime->heap.Builder();
  out.Append(text, begin, end);
  return runtime->heap.NewText(&out);
}

Value Replaced(Runtime* runtime, const Text& text, const Text& from, const Text& to, int64_t count) {
  TextBuilder out = runtime->heap.Builder();
  size_t pos = 0;
  while (count != 0 && !out.overflowed()) {
    const size_t found = text.bytes.find(from.bytes, pos);
    if (found == std::string::npos) break;
    out.Append(text, pos, found);
    out.Append(to);
    pos = found + from.bytes.size();
    --count;
    if (!from.bytes.empty()) continue;
    // An empty string stands before every character and at the end.
    if (pos == text.bytes.size()) break;
    const size_t next = pos + CharLength(text.bytes[pos]);
    out.Append(text, pos, next);
    pos = next;
  }
  out.Append(text, pos, text.bytes.size());
  return runtime->heap.NewText(&out);
}

Value Capitalized(Runtime* runtime, const Text& text) {
  TextBuilder out = runtime->heap.Builder();
  const size_t first = text.bytes.empty() ? 0 : CharLength(text.bytes[0]);
  AppendInCase(text, 0, first, LetterCase::kTitle, &out);
  AppendInCase(text, first, text.bytes.size(), LetterCase::kLower, &out);
  return runtime->heap.NewText(&out);
}

Value Padded(Runtime* runtime, const Text& text, int64_t before, int64_t behind, const Text& fill) {
  TextBuilder out = runtime->heap.Builder();
  for (int64_t i = 0; i < before && !out.overflowed(); ++i) out.Append(fill);
  out.Append(text);
  for (int64_t i = 0; i < behind && !out.overflowed(); ++i) out.Append(fill);
  return runtime->heap.NewText(&out);
}

Value Centered(Runtime* runtime, const Text& text, int64_t width, const Text& fill) {
  const int64_t missing = std::max<int64_t>(0, width - static_cast<int64_t>(CharacterCount(text.bytes)));
  const int64_t before = missing / 2 + (missing & width & 1);
  return Padded(runtime, text, before, missing - before, fill);
}

Value Cased(Runtime* runtime, const Text& text, bool upper) {
  TextBuilder out = runtime->heap.Builder();
  AppendInCase(text, 0, text.bytes.size(), upper ? LetterCase::kUpper : LetterCase::kLower, &out);
  return runtime->heap.NewText(&out);
}

const Builtin* FindTextMethod(std::string_view name) {
  const Builtin* method = FindBuiltin(kMethods, name);
  return method != nullptr ? method : FindSearchMethod(name);
}

}  // namespace hydrad::jinja
