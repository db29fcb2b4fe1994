#include "server/text/jinja/safe_text.h"

namespace hydrad::jinja {

void AppendEscaped(const Text& text, TextBuilder* out) {
  OriginCursor origin(text);
  size_t plain = 0;  // where what is not yet appended begins
  for (size_t pos = 0; pos < text.bytes.size() && !out->overflowed(); ++pos) {
    const char c = text.bytes[pos];
    const std::string_view escape = c == '&'    ? "&amp;"
                                    : c == '<'  ? "&lt;"
                                    : c == '>'  ? "&gt;"
                                    : c == '\'' ? "&#39;"
                                    : c == '"'  ? "&#34;"
                                                : "";
    if (escape.empty()) continue;
    out->Append(text, plain, pos);
    out->Append(escape, origin.IsData(pos));
    plain = pos + 1;
  }
  out->Append(text, plain, text.bytes.size());
}

Value SafeText(Runtime* runtime, TextBuilder* out) {
  Text text = runtime->heap.NewText(out).text();
  text.safe = true;
  return runtime->heap.NewText(std::move(text));
}

Value Marked(Runtime* runtime, const Value& value) {
  if (value.Is(Kind::kText)) {
    Text text = value.text();
    text.safe = true;
    return runtime->heap.NewText(std::move(text));
  }
  if (!value.IsSequence()) return value;
  std::vector<Value> items;
  for (const Value& item : value.list().items)
    items.push_back(item.Is(Kind::kText) ? Marked(runtime, item) : item);
  return runtime->heap.NewList(std::move(items), value.kind());
}

}  // namespace hydrad::jinja
