#include "server/text/jinja/text_search.h"

#include <algorithm>

#include "server/base/status_macros.h"
#include "server/text/jinja/text_methods.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Value Part(Runtime* runtime, const Text& text, size_t begin, size_t end) {
  TextBuilder out = runtime->heap.Builder();
  out.Append(text, begin, end);
  return runtime->heap.NewText(&out);
}

// The bytes of the part that the optional arguments `index` and `index + 1` (places of characters) tell of.
// `inside` is false where the part begins behind the text's end.
absl::StatusOr<ByteRange> Bounds(const Call& call, int index, bool* inside) {
  const std::string& text = call.self.bytes();
  const auto size = static_cast<int64_t>(CharacterCount(text));
  int64_t places[2] = {0, size};
  for (int i = 0; i < 2; ++i) {
    if (!call.Given(index + i) || call.Arg(index + i)->Is(Kind::kNone)) continue;
    ASSIGN_OR_RETURN(places[i], call.Int(index + i, 0));
    if (places[i] < 0) places[i] = std::max<int64_t>(0, places[i] + size);
  }
  *inside = places[0] <= size && places[0] <= places[1];
  const auto byte = [&](int64_t place) {
    return ByteOfCharacter(text, static_cast<size_t>(std::min(place, size)));
  };
  const size_t begin = byte(places[0]);
  return ByteRange{begin, std::max(begin, byte(places[1]))};
}

template <bool kStart>
Result Affix(Call& call) {
  bool inside;
  ASSIGN_OR_RETURN(const ByteRange bounds, Bounds(call, 1, &inside));
  const std::string_view text =
      std::string_view(call.self.bytes()).substr(bounds.begin, bounds.end - bounds.begin);
  std::vector<Value> affixes = {*call.Arg(0)};
  if (affixes[0].Is(Kind::kTuple)) affixes = std::vector<Value>(affixes[0].list().items);
  for (const Value& affix : affixes) {
    if (!affix.Is(Kind::kText)) return call.Error("needs a string or a tuple of strings");
    if (inside && (kStart ? text.starts_with(affix.bytes()) : text.ends_with(affix.bytes())))
      return Value::Bool(true);
  }
  return Value::Bool(false);
}

template <bool kLast, bool kMust>
Result Find(Call& call) {
  ASSIGN_OR_RETURN(const Text* part, call.String(0));
  bool inside;
  ASSIGN_OR_RETURN(const ByteRange bounds, Bounds(call, 1, &inside));
  const std::string_view text = std::string_view(call.self.bytes()).substr(0, bounds.end);
  size_t found = std::string::npos;
  if (inside) {
    found = kLast ? text.rfind(part->bytes) : text.find(part->bytes, bounds.begin);
    if (found < bounds.begin) found = std::string::npos;
  }
  if (found != std::string::npos)
    return Value::Int(static_cast<int64_t>(CharacterCount(text.substr(0, found))));
  if (kMust) return call.Error("the substring is not found");
  return Value::Int(-1);
}

Result Count(Call& call) {
  ASSIGN_OR_RETURN(const Text* part, call.String(0));
  bool inside;
  ASSIGN_OR_RETURN(const ByteRange bounds, Bounds(call, 1, &inside));
  const std::string_view text =
      std::string_view(call.self.bytes()).substr(bounds.begin, bounds.end - bounds.begin);
  if (!inside) return Value::Int(0);
  if (part->bytes.empty()) return Value::Int(static_cast<int64_t>(CharacterCount(text)) + 1);
  int64_t count = 0;
  for (size_t pos = 0; (pos = text.find(part->bytes, pos)) != std::string::npos; pos += part->bytes.size())
    ++count;
  return Value::Int(count);
}

// The words of `text`, at most `limit` splits from one side; the rest is stripped at the other.
std::vector<Value> SplitWords(Runtime* runtime, const Text& text, int64_t limit, bool from_right) {
  std::vector<ByteRange> words;
  const std::string_view all = text.bytes;
  size_t word = std::string::npos;
  for (size_t pos = 0; pos <= all.size();) {
    size_t next = pos;
    const bool space = pos == all.size() || IsPythonSpace(NextCodePoint(all, &next));
    if (space && word != std::string::npos) words.push_back({word, pos});
    if (space) word = std::string::npos;
    if (!space && word == std::string::npos) word = pos;
    if (pos == all.size()) break;
    pos = next;
  }
  const auto splits = static_cast<size_t>(limit);
  if (limit >= 0 && words.size() > splits + 1) {
    if (from_right) {
      const size_t first = words.size() - splits - 1;  // the last of the words that stay together
      words.erase(words.begin() + 1, words.begin() + static_cast<std::ptrdiff_t>(first) + 1);
      words[0].end = StripSpace(all.substr(0, splits == 0 ? all.size() : words[1].begin), false, true).size();
      words[0].begin = 0;
    } else {
      words.resize(splits + 1);
      words.back().end = all.size();
    }
  }
  std::vector<Value> out;
  for (const ByteRange& range : words) out.push_back(Part(runtime, text, range.begin, range.end));
  return out;
}

std::vector<Value> SplitAt(Runtime* runtime, const Text& text, const std::string& separator, int64_t limit,
                           bool from_right) {
  std::vector<ByteRange> parts;
  size_t begin = 0, end = text.bytes.size();
  while (limit != 0) {
    const std::string_view all = std::string_view(text.bytes).substr(0, end);
    const size_t found = from_right ? all.rfind(separator) : all.find(separator, begin);
    if (found == std::string::npos) break;
    if (from_right) {
      parts.push_back({found + separator.size(), end});
      end = found;
    } else {
      parts.push_back({begin, found});
      begin = found + separator.size();
    }
    --limit;
  }
  parts.push_back({begin, end});
  if (from_right) std::reverse(parts.begin(), parts.end());
  std::vector<Value> out;
  for (const ByteRange& range : parts) out.push_back(Part(runtime, text, range.begin, range.end));
  return out;
}

template <bool kFromRight>
Result Split(Call& call) {
  ASSIGN_OR_RETURN(const int64_t limit, call.Int(1, -1));
  const Text& text = call.self.text();
  if (!call.Given(0) || call.Arg(0)->Is(Kind::kNone)) {
    return call.runtime.heap.NewList(SplitWords(&call.runtime, text, limit, kFromRight));
  }
  ASSIGN_OR_RETURN(const Text* separator, call.String(0));
  if (separator->bytes.empty()) return call.Error("the separator is empty");
  return call.runtime.heap.NewList(SplitAt(&call.runtime, text, separator->bytes, limit, kFromRight));
}

template <bool kLast>
Result Partition(Call& call) {
  ASSIGN_OR_RETURN(const Text* separator, call.String(0));
  if (separator->bytes.empty()) return call.Error("the separator is empty");
  const Text& text = call.self.text();
  Heap& heap = call.runtime.heap;
  const size_t found = kLast ? text.bytes.rfind(separator->bytes) : text.bytes.find(separator->bytes);
  if (found == std::string::npos) {
    const Value empty = heap.NewText("");
    return heap.NewTuple(kLast ? std::vector<Value>{empty, empty, call.self}
                               : std::vector<Value>{call.self, empty, empty});
  }
  const size_t behind = found + separator->bytes.size();
  // The separator in the middle is the text's own, which may be data.
  return heap.NewTuple({Part(&call.runtime, text, 0, found), Part(&call.runtime, text, found, behind),
                        Part(&call.runtime, text, behind, text.bytes.size())});
}

constexpr Builtin kMethods[] = {
    {"startswith", Affix<true>, "prefix start end", 1},
    {"endswith", Affix<false>, "suffix start end", 1},
    {"find", Find<false, false>, "sub start end", 1},
    {"rfind", Find<true, false>, "sub start end", 1},
    {"index", Find<false, true>, "sub start end", 1},
    {"rindex", Find<true, true>, "sub start end", 1},
    {"count", Count, "sub start end", 1},
    {"split", Split<false>, "sep maxsplit"},
    {"rsplit", Split<true>, "sep maxsplit"},
    {"partition", Partition<false>, "sep", 1},
    {"rpartition", Partition<true>, "sep", 1},
};

}  // namespace

const Builtin* FindSearchMethod(std::string_view name) { return FindBuiltin(kMethods, name); }

std::vector<Value> Lines(Runtime* runtime, const Text& text, bool keep_ends) {
  std::vector<Value> out;
  const std::string& all = text.bytes;
  size_t begin = 0;
  for (size_t pos = 0; pos < all.size();) {
    const size_t at = pos;
    const uint32_t c = NextCodePoint(all, &pos);
    const bool ends =
        (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!ends) continue;
    if (c == '\r' && pos < all.size() && all[pos] == '\n') ++pos;
    out.push_back(Part(runtime, text, begin, keep_ends ? pos : at));
    begin = pos;
  }
  if (begin < all.size()) out.push_back(Part(runtime, text, begin, all.size()));
  return out;
}

}  // namespace hydrad::jinja
