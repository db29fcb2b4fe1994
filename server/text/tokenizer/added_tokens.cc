#include "server/text/tokenizer/added_tokens.h"

#include <algorithm>

#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/unicode.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr size_t kMaxTokens = 1'000'000;
constexpr size_t kMaxContent = 4096;                 // bytes of one token
constexpr size_t kMaxAllContents = 4 * 1024 * 1024;  // bytes of all; each may cost a node of the tree

// Where the white space that `text` ends with begins.
size_t TrailingSpace(std::string_view text) {
  while (!text.empty()) {
    const uint32_t last = LastCodePoint(text);
    if (!IsWhiteSpace(last)) break;
    text.remove_suffix(last < 0x80 ? 1 : last < 0x800 ? 2 : 3);
  }
  return text.size();
}

// Bytes of white space that `text` starts with.
size_t LeadingSpace(std::string_view text) {
  size_t end = 0;
  for (size_t pos = 0; pos < text.size() && IsWhiteSpace(NextCodePoint(text, &pos));) end = pos;
  return end;
}

}  // namespace

void TextSet::Add(std::string_view text, int32_t id) {
  if (text.empty()) return;
  first_[static_cast<uint8_t>(text[0])] = true;
  int32_t node = 0;
  for (char c : text) {
    const auto [it, added] = next_.try_emplace(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(c),
                                               static_cast<int32_t>(ids_.size()));
    if (added) ids_.push_back(-1);
    node = it->second;
  }
  if (ids_[node] < 0) ids_[node] = id;
}

int32_t TextSet::LongestAt(std::string_view text, size_t begin, size_t* end, const Counts& counts) const {
  if (!first_[static_cast<uint8_t>(text[begin])]) return -1;
  int32_t found = -1;
  int32_t node = 0;
  for (size_t pos = begin; pos < text.size();) {
    const auto it = next_.find(static_cast<uint64_t>(node) << 8 | static_cast<uint8_t>(text[pos]));
    if (it == next_.end()) break;
    node = it->second;
    ++pos;
    if (ids_[node] < 0 || (counts && !counts(ids_[node], pos))) continue;
    found = ids_[node];
    *end = pos;
  }
  return found;
}

absl::StatusOr<AddedTokens> AddedTokens::Parse(const JsonNode& node, const BpeModel& model,
                                               const Normalizer& normalizer) {
  AddedTokens tokens;
  if (node.IsNull()) return tokens;
  ASSIGN_OR_RETURN(const auto elements, node.Elements(kMaxTokens));
  int32_t next_id = model.token_count();
  for (const JsonNode& element : elements) RETURN_IF_ERROR(tokens.Add(element, model, normalizer, &next_id));
  size_t bytes = 0;
  for (const auto& [id, token] : tokens.by_id_) bytes += token.decoded.size();
  if (bytes > kMaxAllContents) return node.Error("more than {} bytes of tokens", kMaxAllContents);
  for (const auto& [id, token] : tokens.by_id_) {
    tokens.sets_[token.normalized].Add(token.normalized ? token.decoded : token.content, id);
    tokens.has_normalized_special_ |= token.normalized && token.special;
  }
  return tokens;
}

absl::Status AddedTokens::Add(const JsonNode& node, const BpeModel& model, const Normalizer& normalizer,
                              int32_t* next_id) {
  AddedToken token;
  ASSIGN_OR_RETURN(const JsonNode content, node.Required("content"));
  ASSIGN_OR_RETURN(token.content, content.String());
  if (token.content.size() > kMaxContent) return content.Error("is longer than {} bytes", kMaxContent);
  ASSIGN_OR_RETURN(token.special, node.BoolOr("special", false));
  ASSIGN_OR_RETURN(token.single_word, node.BoolOr("single_word", false));
  ASSIGN_OR_RETURN(token.lstrip, node.BoolOr("lstrip", false));
  ASSIGN_OR_RETURN(token.rstrip, node.BoolOr("rstrip", false));
  ASSIGN_OR_RETURN(token.normalized, node.BoolOr("normalized", !token.special));
  if (token.content.empty()) return absl::OkStatus();
  token.decoded = token.normalized ? normalizer.Apply(token.content) : token.content;

  int32_t id = TokenId(token.content);
  if (id < 0) id = model.TokenId(token.content);
  if (id < 0) id = (*next_id)++;
  ASSIGN_OR_RETURN(const JsonNode stated_node, node.Member("id"));
  if (!stated_node.IsNull()) {
    ASSIGN_OR_RETURN(const uint32_t stated, stated_node.Count());
    if (stated != static_cast<uint32_t>(id)) {
      Log()->warn("tokenizer.json: {}: the id is {}, not {} as the file says", node.path(), id, stated);
    }
  }
  ids_[token.content] = id;
  if (token.special) special_.insert(token.content);
  by_id_[id] = std::move(token);
  return absl::OkStatus();
}

bool AddedTokens::StandsAlone(std::string_view text, size_t begin, size_t end) const {
  if (begin > 0 && IsWordChar(LastCodePoint(text.substr(0, begin)))) return false;
  size_t pos = end;
  return end == text.size() || !IsWordChar(NextCodePoint(text, &pos));
}

std::vector<AddedTokenSpan> AddedTokens::Find(std::string_view text, bool normalized,
                                              bool parse_special) const {
  const ByteRange all{0, text.size()};
  return Find(text, normalized, parse_special ? std::span<const ByteRange>() : std::span(&all, 1));
}

std::vector<AddedTokenSpan> AddedTokens::Find(std::string_view text, bool normalized,
                                              std::span<const ByteRange> data) const {
  std::vector<AddedTokenSpan> spans;
  const TextSet& set = sets_[normalized];
  size_t done = 0;
  size_t match_end = 0;
  size_t space_end = 0;  // of the white space that a token took last
  size_t next_data = 0;  // the first part of `data` that ends behind `pos`
  size_t border = 0;     // up to where a special token may reach from `pos`
  const TextSet::Counts counts = [&](int32_t id, size_t end) {
    return end <= border || !by_id_.at(id).special;
  };
  for (size_t pos = 0; !set.empty() && pos < text.size(); pos = std::max(pos + 1, match_end)) {
    while (next_data < data.size() && data[next_data].end <= pos) ++next_data;
    const bool any = next_data < data.size();
    const bool inside = any && data[next_data].begin <= pos;
    border = !any ? text.size() : inside ? data[next_data].end : data[next_data].begin;
    const int32_t id = set.LongestAt(text, pos, &match_end, counts);
    if (id < 0) continue;
    const AddedToken& token = by_id_.at(id);
    // What is passed over stays passed over: no shorter token is looked for inside it.
    if (token.special && inside) continue;
    if (token.single_word && !StandsAlone(text, pos, match_end)) continue;
    size_t begin = pos, end = match_end;
    if (token.lstrip && begin > done) begin = done + TrailingSpace(text.substr(done, begin - done));
    if (token.lstrip) begin = std::max(begin, done);
    if (token.rstrip) {
      // Tokens that are white space themselves begin in the run just seen; it is not walked again.
      if (end >= space_end) space_end = end + LeadingSpace(text.substr(end));
      end = space_end;
    }
    if (done < begin) spans.push_back({-1, done, begin});
    if (begin < end) spans.push_back({id, begin, end});  // else the token before has taken all of it
    done = end;
  }
  if (done != text.size()) spans.push_back({-1, done, text.size()});
  return spans;
}

int32_t AddedTokens::TokenId(std::string_view content) const {
  const auto it = ids_.find(content);
  return it == ids_.end() ? -1 : it->second;
}

const AddedToken* AddedTokens::Token(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &it->second;
}

}  // namespace hydrad
