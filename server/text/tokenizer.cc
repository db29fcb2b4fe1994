#include "server/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "server/base/file.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/tokenizer_impl.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

// The parts of `data` within [begin, end), counted from `begin`.
std::vector<ByteRange> DataWithin(std::span<const ByteRange> data, size_t begin, size_t end) {
  std::vector<ByteRange> out;
  auto range =
      std::partition_point(data.begin(), data.end(), [&](const ByteRange& r) { return r.end <= begin; });
  for (; range != data.end() && range->begin < end; ++range) {
    out.push_back({std::max(range->begin, begin) - begin, std::min(range->end, end) - begin});
  }
  return out;
}

// RepairUtf8 of the text, cut at the borders of `data`; `out` are the parts in the result.
std::string RepairedWith(std::string_view text, std::span<const ByteRange> data,
                         std::vector<ByteRange>* out) {
  std::string repaired;
  size_t pos = 0;
  for (const ByteRange& range : data) {
    repaired += RepairUtf8(text.substr(pos, range.begin - pos));
    const size_t begin = repaired.size();
    repaired += RepairUtf8(text.substr(range.begin, range.end - range.begin));
    out->push_back({begin, repaired.size()});
    pos = range.end;
  }
  return repaired + RepairUtf8(text.substr(pos));
}

}  // namespace

std::vector<int32_t> Tokenizer::Impl::Encode(std::string_view text, bool add_special,
                                             std::span<const ByteRange> data) const {
  Run run;
  run.ids.reserve(text.size() / 4 + 8);
  if (add_special) run.ids = parts->post_processor.before;
  if (IsUtf8(text)) {
    EncodeRaw(text, data, text.empty() ? 0 : CharLength(text[0]), &run);
  } else {
    std::vector<ByteRange> repaired_data;
    const std::string repaired = RepairedWith(text, data, &repaired_data);
    EncodeRaw(repaired, repaired_data, CharLength(repaired[0]), &run);
  }
  if (add_special) {
    const std::vector<int32_t>& after = parts->post_processor.after;
    run.ids.insert(run.ids.end(), after.begin(), after.end());
  }
  return std::move(run.ids);
}

// `front_bytes` as in Piece.
void Tokenizer::Impl::EncodeRaw(std::string_view text, std::span<const ByteRange> data, size_t front_bytes,
                                Run* run) const {
  for (const AddedTokenSpan& span : added.Find(text, /*normalized=*/false, data)) {
    const std::string_view part = text.substr(span.begin, span.end - span.begin);
    const size_t front = front_bytes > span.begin ? front_bytes - span.begin : 0;
    if (span.id >= 0) {
      run->ids.push_back(span.id);
    } else if (parts->normalizer.empty()) {
      EncodeNormalized(part, DataWithin(data, span.begin, span.end), front, run);
    } else {
      const std::string normalized = parts->normalizer.Apply(part);
      std::vector<ByteRange> normalized_data;
      if (added.HasNormalizedSpecial()) {
        normalized_data = parts->normalizer.DataOf(part, DataWithin(data, span.begin, span.end), normalized);
      }
      EncodeNormalized(normalized, normalized_data,
                       front > 0 ? parts->normalizer.FrontBytes(part, normalized) : 0, run);
    }
  }
}

void Tokenizer::Impl::EncodeNormalized(std::string_view text, std::span<const ByteRange> data,
                                       size_t front_bytes, Run* run) const {
  if (!added.Has(/*normalized=*/true)) return EncodePlain(text, front_bytes, run);
  for (const AddedTokenSpan& span : added.Find(text, /*normalized=*/true, data)) {
    if (span.id >= 0) {
      run->ids.push_back(span.id);
    } else {
      EncodePlain(text.substr(span.begin, span.end - span.begin),
                  front_bytes > span.begin ? front_bytes - span.begin : 0, run);
    }
  }
}

void Tokenizer::Impl::EncodePlain(std::string_view text, size_t front_bytes, Run* run) const {
  if (text.empty()) return;
  Pieces pieces;
  pieces.list.push_back({text, front_bytes});
  parts->pre_tokenizer.Apply(&pieces);
  for (const Piece& piece : pieces.list) parts->model.Encode(piece.text, &run->scratch, &run->ids);
}

const std::string* Tokenizer::Impl::DecodedToken(int32_t id, bool skip_special) const {
  const AddedToken* token = added.Token(id);
  const std::string* text = token != nullptr ? &token->decoded : parts->model.Token(id);
  // The package compares texts here, not ids.
  if (text != nullptr && skip_special && added.IsSpecialText(*text)) return nullptr;
  return text;
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string json, ReadFile(path));
  auto tokenizer = FromJson(json);
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), path);
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::FromJson(std::string_view json) {
  ASSIGN_OR_RETURN(const nlohmann::json root, ParseTokenizerJson(json));
  ASSIGN_OR_RETURN(auto impl, Impl::Parse(JsonNode(root, "")));
  return std::unique_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::unique_ptr<const Tokenizer>> Tokenizer::With(std::string_view more) const {
  const nlohmann::json tokens = nlohmann::json::parse(more, nullptr, /*allow_exceptions=*/false);
  ASSIGN_OR_RETURN(auto impl, impl_->With(tokens));
  return std::unique_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

absl::StatusOr<std::string> Tokenizer::AddedBy(std::string_view tokenizer_json) const {
  ASSIGN_OR_RETURN(const nlohmann::json more, impl_->AddedBy(tokenizer_json));
  return more.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, bool add_special, bool parse_special) const {
  // Text in which no special token is to be recognised is data as a whole.
  const ByteRange all{0, text.size()};
  return impl_->Encode(text, add_special, parse_special ? std::span<const ByteRange>() : std::span(&all, 1));
}

std::vector<int32_t> Tokenizer::Encode(std::string_view text, std::span<const ByteRange> data) const {
  return impl_->Encode(text, /*add_special=*/false, data);
}

std::string Tokenizer::Decode(std::span<const int32_t> ids, bool skip_special) const {
  const auto stream = impl_->parts->decoder.Start();
  for (int32_t id : ids) {
    if (const std::string* token = impl_->DecodedToken(id, skip_special)) stream->AddToken(*token);
  }
  stream->Finish();
  return stream->Take();
}

int Tokenizer::vocab_size() const {
  return std::max(impl_->parts->model.max_id(), impl_->added.max_id()) + 1;
}

int32_t Tokenizer::TokenId(std::string_view token) const {
  const int32_t id = impl_->added.TokenId(token);
  return id >= 0 ? id : impl_->parts->model.TokenId(token);
}

std::string Tokenizer::TokenBytes(int32_t id) const {
  if (const AddedToken* added = impl_->added.Token(id)) return added->content;
  const std::string* token = impl_->parts->model.Token(id);
  return token == nullptr ? "" : impl_->parts->decoder.TokenBytes(*token);
}

bool Tokenizer::IsSpecial(int32_t id) const {
  return impl_->DecodedToken(id, /*skip_special=*/false) != nullptr &&
         impl_->DecodedToken(id, /*skip_special=*/true) == nullptr;
}

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special, std::span<const int32_t> prompt,
                         std::string* echo, std::vector<int32_t> kept)
    : tokenizer_(&tokenizer),
      skip_special_(skip_special),
      kept_(std::move(kept)),
      stream_(tokenizer.impl_->parts->decoder.Start()) {
  for (const int32_t id : prompt) Feed(id);
  stream_->StartStreaming();
  std::string certain = stream_->Take();
  if (echo != nullptr) {
    *echo = std::move(certain);
  } else if (stream_->holding()) {
    DecodeStream alone(*stream_);
    alone.Finish();
    repeated_ = alone.Take();
  }
}

Detokenizer::Detokenizer(const Detokenizer& other)
    : tokenizer_(other.tokenizer_),
      skip_special_(other.skip_special_),
      kept_(other.kept_),
      stream_(std::make_unique<DecodeStream>(*other.stream_)),
      repeated_(other.repeated_),
      begun_(other.begun_) {}
Detokenizer::Detokenizer(Detokenizer&&) noexcept = default;
Detokenizer& Detokenizer::operator=(Detokenizer&&) noexcept = default;
Detokenizer::~Detokenizer() = default;

void Detokenizer::Feed(int32_t id) {
  const bool skip = skip_special_ && std::find(kept_.begin(), kept_.end(), id) == kept_.end();
  const std::string* token = tokenizer_->impl_->DecodedToken(id, skip);
  if (token != nullptr) stream_->AddToken(*token);
}

std::string Detokenizer::Take(bool last) {
  std::string text = stream_->Take();
  if (repeated_.empty()) return text;
  begun_ += text;
  if (!last && begun_.size() < repeated_.size() && repeated_.starts_with(begun_)) return "";
  if (begun_.starts_with(repeated_)) begun_.erase(0, repeated_.size());
  repeated_.clear();
  return std::exchange(begun_, {});
}

std::string Detokenizer::Add(int32_t id) {
  Feed(id);
  return Take(/*last=*/false);
}

bool Detokenizer::holding() const { return stream_->holding() || !begun_.empty(); }

std::string Detokenizer::Finish() {
  stream_->Finish();
  return Take(/*last=*/true);
}

}  // namespace hydrad
