// How a Tokenizer is made: from a file, or of another one and more tokens.
#include "server/text/tokenizer/tokenizer_impl.h"

#include <algorithm>
#include <utility>

#include "server/base/foreign_content.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = 256 * 1024 * 1024;
constexpr char kAdded[] = "added_tokens";

// The content of an element of "added_tokens", "" where it has none.
std::string_view ContentOf(const json& token) {
  const auto content = token.is_object() ? token.find("content") : token.end();
  if (!token.is_object() || content == token.end() || !content->is_string()) return "";
  return content->get_ref<const std::string&>();
}

// Those elements of `tokens` whose content is none of `known`'s.
json WithoutKnown(const json& tokens, const AddedTokens& known) {
  json more = json::array();
  for (const json& token : tokens) {
    if (known.TokenId(ContentOf(token)) < 0) more.push_back(token);
  }
  return more;
}

}  // namespace

absl::StatusOr<json> ParseTokenizerJson(std::string_view text, bool with_model) {
  if (text.size() > kMaxFileBytes) return InvalidArgument("larger than {} bytes", kMaxFileBytes);
  if (const std::string_view foreign = ForeignContent(text); !foreign.empty()) {
    return InvalidArgument("{}", foreign);
  }
  const auto keep = [with_model](int depth, json::parse_event_t event, json& parsed) {
    return with_model || depth != 1 || event != json::parse_event_t::key || parsed != "model";
  };
  try {
    return json::parse(text, keep);
  } catch (const json::exception& error) {
    return InvalidArgument("not JSON: {}", error.what());
  }
}

absl::StatusOr<std::unique_ptr<const Tokenizer::Impl>> Tokenizer::Impl::Parse(const JsonNode& root) {
  Parts parts;
  ASSIGN_OR_RETURN(const JsonNode normalizer, root.Member("normalizer"));
  ASSIGN_OR_RETURN(parts.normalizer, Normalizer::Parse(normalizer));
  ASSIGN_OR_RETURN(const JsonNode pre_tokenizer, root.Member("pre_tokenizer"));
  ASSIGN_OR_RETURN(parts.pre_tokenizer, PreTokenizer::Parse(pre_tokenizer));
  ASSIGN_OR_RETURN(const JsonNode model, root.Required("model"));
  ASSIGN_OR_RETURN(parts.model, BpeModel::Parse(model, parts.pre_tokenizer.ends_with_bytes()));
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(const JsonNode added, root.Member(kAdded));
  ASSIGN_OR_RETURN(impl->added, AddedTokens::Parse(added, parts.model, parts.normalizer));
  impl->added_json = added.IsNull() ? json::array() : added.value();
  ASSIGN_OR_RETURN(const JsonNode post_processor, root.Member("post_processor"));
  ASSIGN_OR_RETURN(parts.post_processor, PostProcessor::Parse(post_processor));
  ASSIGN_OR_RETURN(const JsonNode decoder, root.Member("decoder"));
  ASSIGN_OR_RETURN(parts.decoder, Decoder::Parse(decoder));
  impl->parts = std::make_shared<const Parts>(std::move(parts));
  return impl;
}

absl::StatusOr<std::unique_ptr<const Tokenizer::Impl>> Tokenizer::Impl::With(const json& more) const {
  if (!more.is_array()) return InvalidArgument("{}: must be an array", kAdded);
  auto impl = std::make_unique<Impl>();
  impl->parts = parts;
  impl->added_json = added_json;
  impl->added_json.insert(impl->added_json.end(), more.begin(), more.end());
  ASSIGN_OR_RETURN(impl->added,
                   AddedTokens::Parse(JsonNode(impl->added_json, kAdded), parts->model, parts->normalizer));
  return impl;
}

absl::StatusOr<json> Tokenizer::Impl::AddedBy(std::string_view tokenizer_json) const {
  ASSIGN_OR_RETURN(const json brief, ParseTokenizerJson(tokenizer_json, /*with_model=*/false));
  if (!brief.is_object()) return InvalidArgument("must be a JSON object");
  const auto found = brief.find(kAdded);
  const bool some = found != brief.end() && found->is_array();
  json more = some ? WithoutKnown(*found, added) : json::array();
  if (more.empty()) return more;

  ASSIGN_OR_RETURN(const json whole, ParseTokenizerJson(tokenizer_json));
  ASSIGN_OR_RETURN(const auto theirs, Parse(JsonNode(whole, "")));
  if (const std::string differs = parts->model.DifferenceTo(theirs->parts->model); !differs.empty())
    return InvalidArgument("model: is not the base model's: {}", differs);
  ASSIGN_OR_RETURN(const auto ours, With(more));
  for (int32_t id = 0; id <= std::max(ours->added.max_id(), theirs->added.max_id()); ++id) {
    const AddedToken *own = ours->added.Token(id), *other = theirs->added.Token(id);
    const std::string none;
    const std::string &a = own == nullptr ? none : own->content,
                      &b = other == nullptr ? none : other->content;
    if (a != b) return InvalidArgument("{}: id {} is '{}', where it must be '{}'", kAdded, id, b, a);
  }
  return more;
}

}  // namespace hydrad
