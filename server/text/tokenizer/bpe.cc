#include "server/text/tokenizer/bpe.h"

#include <fmt/core.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr uint32_t kMaxId = (1u << 22) - 1;  // sixteen times the largest vocabulary in use
constexpr int64_t kMaxUnused = 1 << 16;  // ids without a token, for each of which there is a place in memory
constexpr std::string_view kMetaspace = "\xE2\x96\x81";
constexpr size_t kShort = 24;  // pieces up to this many symbols are merged by plain search

bool Later(const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

// The two sides of one merge: "a b" or ["a", "b"].
absl::StatusOr<std::pair<std::string_view, std::string_view>> MergeSides(const nlohmann::json& merge) {
  if (merge.is_string()) {
    const std::string_view text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != text.npos && text.find(' ', space + 1) == text.npos) {
      return std::pair(text.substr(0, space), text.substr(space + 1));
    }
  } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return std::pair<std::string_view, std::string_view>(merge[0].get_ref<const std::string&>(),
                                                         merge[1].get_ref<const std::string&>());
  }
  return InvalidArgument("must be \"left right\" or [\"left\", \"right\"]");
}

// True if ▁ stands behind another character.
bool HasInnerMetaspace(std::string_view token) {
  for (size_t at = token.find(kMetaspace); at != token.npos; at = token.find(kMetaspace, at + 1)) {
    if (at >= kMetaspace.size() ? token.substr(at - kMetaspace.size(), kMetaspace.size()) != kMetaspace
                                : at > 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<BpeModel> BpeModel::Parse(const JsonNode& node, bool takes_bytes) {
  BpeModel model;
  model.takes_bytes_ = takes_bytes;
  RETURN_IF_ERROR(model.ParseVocabulary(node));
  RETURN_IF_ERROR(model.ParseOptions(node));
  RETURN_IF_ERROR(model.ParseMerges(node));
  model.IndexBytes();
  model.IndexWholePieces();
  return model;
}

std::string BpeModel::DifferenceTo(const BpeModel& other) const {
  const size_t ids = std::max(tokens_.size(), other.tokens_.size());
  for (size_t id = 0; id < ids; ++id) {
    const std::string *own = Token(static_cast<int32_t>(id)), *theirs = other.Token(static_cast<int32_t>(id));
    if ((own == nullptr) != (theirs == nullptr) || (own != nullptr && *own != *theirs)) {
      return fmt::format("id {} is '{}' and not '{}'", id, theirs == nullptr ? "" : *theirs,
                         own == nullptr ? "" : *own);
    }
  }
  if (merges_ != other.merges_) return "its merges are others";
  const auto options = [](const BpeModel& m) {
    return std::tie(m.prefix_, m.suffix_, m.unknown_, m.fuse_unknown_, m.byte_fallback_, m.ignore_merges_);
  };
  return options(*this) == options(other) ? "" : "its options are others";
}

absl::Status BpeModel::ParseVocabulary(const JsonNode& node) {
  ASSIGN_OR_RETURN(const std::string type, node.StringOr("type", "BPE"));
  if (type != "BPE") return node.Error("the model '{}' is not supported", type);
  ASSIGN_OR_RETURN(const JsonNode vocab, node.Required("vocab"));
  if (!vocab.value().is_object()) return vocab.Error("must be an object, not {}", vocab.value().type_name());
  int64_t max_id = 0;
  for (const auto& [token, value] : vocab.value().items()) {
    const int64_t id = JsonCount(value, kMaxId);
    if (id < 0) return vocab.Error("the id of '{}' must be an integer from 0 to {}", token, kMaxId);
    max_id = std::max(max_id, id);
  }
  token_count_ = static_cast<int>(vocab.value().size());
  if (token_count_ == 0) return absl::OkStatus();
  if (max_id >= token_count_ + kMaxUnused)
    return vocab.Error("{} tokens have ids up to {}", token_count_, max_id);
  tokens_.resize(max_id + 1);
  known_.resize(max_id + 1);
  names_ = TokenTable(token_count_);
  for (const auto& [token, value] : vocab.value().items()) {
    const uint32_t id = value.get<uint32_t>();
    if (known_[id]) return vocab.Error("'{}' and '{}' have the same id {}", tokens_[id], token, id);
    known_[id] = true;
    tokens_[id] = token;
    names_.Insert(token, static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ParseOptions(const JsonNode& node) {
  ASSIGN_OR_RETURN(const JsonNode dropout, node.Member("dropout"));
  if (!dropout.IsNull() && dropout.value() != 0) return dropout.Error("is not supported");
  ASSIGN_OR_RETURN(prefix_, node.StringOr("continuing_subword_prefix", ""));
  ASSIGN_OR_RETURN(suffix_, node.StringOr("end_of_word_suffix", ""));
  ASSIGN_OR_RETURN(fuse_unknown_, node.BoolOr("fuse_unk", false));
  ASSIGN_OR_RETURN(byte_fallback_, node.BoolOr("byte_fallback", false));
  ASSIGN_OR_RETURN(ignore_merges_, node.BoolOr("ignore_merges", false));
  ASSIGN_OR_RETURN(const JsonNode unknown, node.Member("unk_token"));
  if (unknown.IsNull()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string token, unknown.String());
  unknown_ = TokenId(token);
  if (unknown_ < 0) return unknown.Error("'{}' is not in the vocabulary", token);
  return absl::OkStatus();
}

absl::Status BpeModel::ParseMerges(const JsonNode& node) {
  ASSIGN_OR_RETURN(const JsonNode merges, node.Required("merges"));
  if (!merges.value().is_array()) return merges.Error("must be an array, not {}", merges.value().type_name());
  merges_ = MergeTable(merges.value().size());
  uint32_t rank = 0;
  std::string joined;
  for (size_t i = 0; i < merges.value().size(); ++i) {
    const nlohmann::json& merge = merges.value()[i];
    if (merge.is_string() && merge.get_ref<const std::string&>().starts_with("#version")) continue;
    const auto sides = MergeSides(merge);
    if (!sides.ok()) return merges.Error("[{}] {}", i, std::string(sides.status().message()));
    const auto& [left, right] = *sides;
    // A side that adds nothing would make a merge that gives back one of its sides.
    if (left.empty() || right.size() <= prefix_.size()) return merges.Error("[{}] has an empty side", i);
    joined.assign(left).append(right.substr(prefix_.size()));
    const int32_t left_id = TokenId(left), right_id = TokenId(right), id = TokenId(joined);
    if (left_id < 0 || right_id < 0 || id < 0) {
      return merges.Error("[{}] '{}' is not in the vocabulary", i,
                          left_id < 0    ? std::string(left)
                          : right_id < 0 ? std::string(right)
                                         : joined);
    }
    merges_.Set(left_id, right_id, {rank++, id});
  }
  return absl::OkStatus();
}

void BpeModel::IndexBytes() {
  all_bytes_ = prefix_.empty() && suffix_.empty();
  for (int b = 0; b < 256; ++b) {
    fallback_[b] = TokenId(fmt::format("<0x{:02X}>", b));
    std::string written;
    AppendUtf8(ByteToChar(static_cast<uint8_t>(b)), &written);
    byte_char_[b] = TokenId(written);
    all_bytes_ &= byte_char_[b] >= 0;
  }
}

void BpeModel::IndexWholePieces() {
  cuts_before_metaspace_ = !takes_bytes_ && !ignore_merges_ && prefix_.empty() && suffix_.empty() &&
                           TokenId(kMetaspace) >= 0 &&
                           std::none_of(tokens_.begin(), tokens_.end(), HasInnerMetaspace);
  TokenTable whole(token_count_);
  BpeScratch scratch;
  std::vector<int32_t> ids;
  std::string piece;
  for (int32_t id = 0; id <= max_id(); ++id) {
    if (!known_[id] || tokens_[id].empty()) continue;
    piece.clear();
    if (!takes_bytes_) {
      piece = tokens_[id];
    } else if (!CharsToBytes(tokens_[id], &piece)) {
      continue;
    }
    ids.clear();
    if (!ignore_merges_) EncodeWord(piece, &scratch, &ids);
    if (ignore_merges_ || (ids.size() == 1 && ids[0] == id)) whole.Insert(piece, id);
  }
  whole_ = std::move(whole);
}

void BpeModel::Encode(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const {
  if (!cuts_before_metaspace_) return EncodeWord(piece, scratch, out);
  size_t begin = 0;
  for (size_t at = piece.find(kMetaspace, 1); at != piece.npos; at = piece.find(kMetaspace, at + 1)) {
    // Runs of ▁ stay together: they may merge.
    if (at >= kMetaspace.size() && piece.substr(at - kMetaspace.size(), kMetaspace.size()) == kMetaspace)
      continue;
    EncodeWord(piece.substr(begin, at - begin), scratch, out);
    begin = at;
  }
  EncodeWord(piece.substr(begin), scratch, out);
}

void BpeModel::EncodeWord(std::string_view piece, BpeScratch* scratch, std::vector<int32_t>* out) const {
  const int32_t whole = whole_.Find(piece);
  if (whole >= 0) {
    out->push_back(whole);
    return;
  }
  std::vector<int32_t>& ids = scratch->ids;
  ids.clear();
  if (!takes_bytes_) {
    StartFromChars(piece, &ids);
  } else if (!StartFromBytes(piece, &ids)) {
    StartFromChars(BytesToChars(piece), &ids);
  }
  if (ids.size() <= kShort) {
    MergeShort(scratch);
  } else {
    MergeLong(scratch);
  }
  out->insert(out->end(), ids.begin(), ids.end());
}

bool BpeModel::StartFromBytes(std::string_view piece, std::vector<int32_t>* ids) const {
  if (!all_bytes_) return false;
  for (char c : piece) ids->push_back(byte_char_[static_cast<uint8_t>(c)]);
  return true;
}

void BpeModel::StartFromChars(std::string_view text, std::vector<int32_t>* ids) const {
  bool unknown_pending = false;  // written when the next known character comes, so that a run can become one
  std::string written;
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    pos += CharLength(text[pos]);
    std::string_view symbol = text.substr(begin, pos - begin);
    if (!prefix_.empty() || !suffix_.empty()) {
      written.assign(begin > 0 ? prefix_ : "").append(symbol).append(pos == text.size() ? suffix_ : "");
      symbol = written;
    }
    const int32_t id = TokenId(symbol);
    if (id >= 0) {
      if (std::exchange(unknown_pending, false)) ids->push_back(unknown_);
      ids->push_back(id);
    } else if (byte_fallback_ && std::all_of(symbol.begin(), symbol.end(), [this](char c) {
                 return fallback_[static_cast<uint8_t>(c)] >= 0;
               })) {
      for (char c : symbol) ids->push_back(fallback_[static_cast<uint8_t>(c)]);
    } else if (unknown_ >= 0) {
      if (unknown_pending && !fuse_unknown_) ids->push_back(unknown_);
      unknown_pending = true;
    }
  }
  if (unknown_pending) ids->push_back(unknown_);
}

// Looks for the best pair anew after every merge: quadratic, and the fastest for a word.
void BpeModel::MergeShort(BpeScratch* scratch) const {
  std::vector<int32_t>& ids = scratch->ids;
  std::vector<Merge>& merges = scratch->merges;
  merges.clear();
  for (size_t i = 0; i + 1 < ids.size(); ++i) merges.push_back(merges_.Find(ids[i], ids[i + 1]));
  while (!merges.empty()) {
    const auto best = std::min_element(merges.begin(), merges.end(),
                                       [](const Merge& a, const Merge& b) { return a.rank < b.rank; });
    if (best->rank == UINT32_MAX) return;
    const size_t i = static_cast<size_t>(best - merges.begin());
    ids[i] = best->id;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(i) + 1);
    merges.erase(best);
    if (i > 0) merges[i - 1] = merges_.Find(ids[i - 1], ids[i]);
    if (i < merges.size()) merges[i] = merges_.Find(ids[i], ids[i + 1]);
  }
}

// Keeps the pairs in a heap and the symbols in a list. A pair whose sides have changed since it was found is
// recognised when it comes up, because what it makes is no longer what its place would make.
void BpeModel::MergeLong(BpeScratch* scratch) const {
  auto& symbols = scratch->symbols;
  auto& heap = scratch->candidates;
  symbols.clear();
  heap.clear();
  const auto offer = [&](int32_t left, int32_t right) {
    const Merge merge = merges_.Find(symbols[left].id, symbols[right].id);
    if (merge.rank == UINT32_MAX) return;
    heap.push_back({merge.rank, left, merge.id});
    std::push_heap(heap.begin(), heap.end(), Later);
  };
  const int32_t count = static_cast<int32_t>(scratch->ids.size());
  for (int32_t i = 0; i < count; ++i) symbols.push_back({scratch->ids[i], i - 1, i + 1 < count ? i + 1 : -1});
  for (int32_t i = 0; i + 1 < count; ++i) offer(i, i + 1);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), Later);
    const BpeScratch::Candidate top = heap.back();
    heap.pop_back();
    auto& left = symbols[top.position];
    if (left.id < 0 || left.next < 0) continue;
    auto& right = symbols[left.next];
    if (merges_.Find(left.id, right.id).id != top.id) continue;
    left.id = top.id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].prev = top.position;
    if (left.prev >= 0) offer(left.prev, top.position);
    if (left.next >= 0) offer(top.position, left.next);
  }
  scratch->ids.clear();
  for (const auto& symbol : symbols) {
    if (symbol.id >= 0) scratch->ids.push_back(symbol.id);
  }
}

}  // namespace hydrad
