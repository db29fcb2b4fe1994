// The filter tojson, as transformers has it: Python's json.dumps.
#include <fmt/core.h>

#include <cmath>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/jinja/filters.h"
#include "server/text/jinja/python_text.h"
#include "server/text/jinja/sorting.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Runtime* runtime, TextBuilder* out) : runtime_(*runtime), out_(*out) {}

  bool ensure_ascii = false;
  bool sort_keys = false;
  bool indented = false;
  Text indent, between, colon = Text(": ");

  absl::Status Write(const Value& value, int level) {
    Nesting nesting(&runtime_);
    RETURN_IF_ERROR(nesting.status());
    runtime_.heap.Step();
    RETURN_IF_ERROR(runtime_.heap.status());
    switch (value.kind()) {
      case Kind::kText:
        WriteText(value.text());
        break;
      case Kind::kList:
      case Kind::kTuple:
        return WriteList(value.list().items, level);
      case Kind::kDict:
        return WriteDict(value.dict(), level);
      case Kind::kUndefined:
        return value.UndefinedError();
      default: {
        ASSIGN_OR_RETURN(const std::string text, Scalar(value));
        out_.Append(text);
      }
    }
    return absl::OkStatus();
  }

 private:
  static absl::StatusOr<std::string> Scalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kNone:
        return "null";
      case Kind::kBool:
        return value.boolean() ? "true" : "false";
      case Kind::kInt:
        return std::to_string(value.integer());
      case Kind::kFloat:
        if (std::isnan(value.real())) return "NaN";
        if (std::isinf(value.real())) return value.real() < 0 ? "-Infinity" : "Infinity";
        return FloatRepr(value.real());
      default:
        return InvalidArgument("a value of type {} has no JSON", KindName(value.kind()));
    }
  }

  void WriteText(const Text& text) {
    OriginCursor origin(text);
    out_.Append("\"");
    for (size_t pos = 0; pos < text.bytes.size() && !out_.overflowed();) {
      const size_t begin = pos;
      const uint32_t c = NextCodePoint(text.bytes, &pos);
      const bool is_data = origin.IsData(begin);
      const std::string escape = Escape(c);
      out_.Append(escape.empty() ? std::string_view(text.bytes).substr(begin, pos - begin) : escape, is_data);
    }
    out_.Append("\"");
  }

  // How the character is escaped; empty where it is not.
  std::string Escape(uint32_t c) const {
    static constexpr std::string_view kFrom = "\"\\\b\f\n\r\t";
    static constexpr std::string_view kTo = "\"\\bfnrt";
    if (c < 0x80) {
      const size_t simple = kFrom.find(static_cast<char>(c));
      if (simple != std::string_view::npos) return fmt::format("\\{}", kTo[simple]);
    }
    if (c < 0x20 || (ensure_ascii && c >= 0x7f && c < 0x10000)) return fmt::format("\\u{:04x}", c);
    if (!ensure_ascii || c < 0x7f) return "";
    return fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + ((c - 0x10000) >> 10),
                       0xdc00 + ((c - 0x10000) & 0x3ff));
  }

  void NewLine(int level) {
    if (!indented) return;
    out_.Append("\n");
    for (int i = 0; i < level && !out_.overflowed(); ++i) out_.Append(indent);
  }

  absl::Status WriteList(const std::vector<Value>& items, int level) {
    if (items.empty()) return out_.Append("[]"), absl::OkStatus();
    out_.Append("[");
    for (size_t i = 0; i < items.size() && !out_.overflowed(); ++i) {
      if (i > 0) out_.Append(between);
      NewLine(level + 1);
      RETURN_IF_ERROR(Write(items[i], level + 1));
    }
    NewLine(level);
    out_.Append("]");
    return absl::OkStatus();
  }

  absl::Status WriteDict(const Dict& dict, int level) {
    if (dict.items.empty()) return out_.Append("{}"), absl::OkStatus();
    std::vector<Value> pairs, keys;
    for (const auto& [key, value] : dict.items) {
      pairs.push_back(runtime_.heap.NewTuple({key, value}));
      keys.push_back(key);
    }
    if (sort_keys) RETURN_IF_ERROR(SortByKeys(&runtime_, std::move(keys), /*reverse=*/false, &pairs));
    out_.Append("{");
    for (size_t i = 0; i < pairs.size() && !out_.overflowed(); ++i) {
      if (i > 0) out_.Append(between);
      NewLine(level + 1);
      const Value& key = pairs[i].list().items[0];
      if (key.Is(Kind::kText)) {
        WriteText(key.text());
      } else {
        ASSIGN_OR_RETURN(const std::string text, Scalar(key));
        out_.Append(fmt::format("\"{}\"", text));
      }
      out_.Append(colon);
      RETURN_IF_ERROR(Write(pairs[i].list().items[1], level + 1));
    }
    NewLine(level);
    out_.Append("}");
    return absl::OkStatus();
  }

  Runtime& runtime_;
  TextBuilder& out_;
};

absl::Status ReadIndent(const Call& call, int index, JsonWriter* writer) {
  writer->indented = call.Given(index) && !call.Arg(index)->Is(Kind::kNone);
  writer->between = Text(writer->indented ? "," : ", ");
  if (!writer->indented) return absl::OkStatus();
  if (call.Arg(index)->Is(Kind::kText)) {
    writer->indent = call.Arg(index)->text();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const int64_t width, call.Int(index, 0));
  if (width > 1000) return call.Error("an indent above 1000");
  writer->indent = Text(std::string(width < 0 ? 0 : static_cast<size_t>(width), ' '));
  return absl::OkStatus();
}

absl::Status ReadSeparators(const Call& call, int index, JsonWriter* writer) {
  if (!call.Given(index) || call.Arg(index)->Is(Kind::kNone)) return absl::OkStatus();
  const Value& pair = *call.Arg(index);
  const bool sound = pair.IsSequence() && pair.list().items.size() == 2 &&
                     pair.list().items[0].Is(Kind::kText) && pair.list().items[1].Is(Kind::kText);
  if (!sound) return call.Error("'separators' must be two strings");
  writer->between = pair.list().items[0].text();
  writer->colon = pair.list().items[1].text();
  return absl::OkStatus();
}

absl::StatusOr<Value> ToJson(Call& call) {
  TextBuilder out = call.runtime.heap.Builder();
  JsonWriter writer(&call.runtime, &out);
  writer.ensure_ascii = call.True(0, false);
  RETURN_IF_ERROR(ReadIndent(call, 1, &writer));
  RETURN_IF_ERROR(ReadSeparators(call, 2, &writer));
  writer.sort_keys = call.True(3, false);
  RETURN_IF_ERROR(writer.Write(call.self, 0));
  return call.runtime.heap.NewText(&out);
}

constexpr Builtin kFilters[] = {{"tojson", ToJson, "ensure_ascii indent separators sort_keys"}};

}  // namespace

std::span<const Builtin> JsonFilters() { return kFilters; }

}  // namespace hydrad::jinja
