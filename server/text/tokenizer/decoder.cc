#include "server/text/tokenizer/decoder.h"

#include <algorithm>
#include <utility>

#include "server/base/status_macros.h"
#include "server/text/tokenizer/decode_steps.h"

namespace hydrad {
namespace {

constexpr size_t kMaxSteps = 64;
constexpr int kMaxDepth = 8;

struct Parsed {
  std::vector<std::unique_ptr<const DecoderStep>> steps;
  size_t growth = 1;
};

absl::Status ParseReplace(const JsonNode& node, Parsed* out) {
  ASSIGN_OR_RETURN(const JsonNode pattern_node, node.Required("pattern"));
  ASSIGN_OR_RETURN(Pattern pattern, Pattern::Parse(pattern_node));
  ASSIGN_OR_RETURN(const JsonNode content_node, node.Required("content"));
  ASSIGN_OR_RETURN(std::string content, content_node.String());
  out->growth *= std::min(ReplaceGrowth(pattern, content.size()), kMaxGrowth + 1);
  if (out->growth > kMaxGrowth) return node.Error("the text could grow more than {} times", kMaxGrowth);
  out->steps.push_back(ReplaceDecoder(std::move(pattern), std::move(content)));
  return absl::OkStatus();
}

absl::Status ParseStrip(const JsonNode& node, Parsed* out) {
  ASSIGN_OR_RETURN(const JsonNode content_node, node.Required("content"));
  ASSIGN_OR_RETURN(std::string content, content_node.Character());
  ASSIGN_OR_RETURN(const JsonNode start_node, node.Required("start"));
  ASSIGN_OR_RETURN(const uint32_t start, start_node.Count());
  ASSIGN_OR_RETURN(const JsonNode stop_node, node.Required("stop"));
  ASSIGN_OR_RETURN(const uint32_t stop, stop_node.Count());
  out->steps.push_back(StripDecoder(std::move(content), start, stop));
  return absl::OkStatus();
}

absl::Status ParseMetaspace(const JsonNode& node, Parsed* out) {
  ASSIGN_OR_RETURN(const JsonNode replacement_node, node.Required("replacement"));
  ASSIGN_OR_RETURN(std::string replacement, replacement_node.Character());
  ASSIGN_OR_RETURN(const bool prefix_space, node.BoolOr("add_prefix_space", true));
  ASSIGN_OR_RETURN(const std::string scheme,
                   node.StringOr("prepend_scheme", prefix_space ? "always" : "never"));
  out->steps.push_back(MetaspaceDecoder(std::move(replacement), scheme != "never"));
  return absl::OkStatus();
}

absl::Status ParseStep(const JsonNode& node, int depth, Parsed* out) {
  if (depth > kMaxDepth) return node.Error("nested too deeply");
  ASSIGN_OR_RETURN(const std::string_view type, node.Type());
  if (type == "Sequence") {
    ASSIGN_OR_RETURN(const JsonNode list, node.Required("decoders"));
    ASSIGN_OR_RETURN(const auto elements, list.Elements(kMaxSteps));
    for (const JsonNode& element : elements) RETURN_IF_ERROR(ParseStep(element, depth + 1, out));
    return absl::OkStatus();
  }
  if (out->steps.size() == kMaxSteps) return node.Error("more than {} decoders", kMaxSteps);
  if (type == "Replace") return ParseReplace(node, out);
  if (type == "Strip") return ParseStrip(node, out);
  if (type == "Metaspace") return ParseMetaspace(node, out);
  if (type == "ByteLevel") {
    out->steps.push_back(ByteLevelDecoder());
  } else if (type == "ByteFallback") {
    out->steps.push_back(ByteFallbackDecoder());
  } else if (type == "Fuse") {
    out->steps.push_back(FuseDecoder());
  } else {
    return node.Error("the decoder '{}' is not supported", type);
  }
  return absl::OkStatus();
}

}  // namespace

class DecodeStream::Collector final : public DecodeStage {
 public:
  explicit Collector(std::string* out) : out_(out) {}
  void Add(std::string_view fragment, bool) override { out_->append(fragment); }
  void Finish() override {}
  void StartStreaming() override {}
  std::unique_ptr<DecodeStage> Clone() const override { return std::make_unique<Collector>(out_); }

 private:
  std::string* const out_;
};

DecodeStream::DecodeStream(std::vector<std::unique_ptr<DecodeStage>> stages) : stages_(std::move(stages)) {
  Link();
}

DecodeStream::DecodeStream(const DecodeStream& other) : out_(other.out_) {
  for (const auto& stage : other.stages_) stages_.push_back(stage->Clone());
  Link();
}

void DecodeStream::Link() {
  collector_ = std::make_unique<Collector>(&out_);
  first_ = collector_.get();
  for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) {
    (*stage)->set_next(first_);
    first_ = stage->get();
  }
}

bool DecodeStream::holding() const {
  return std::ranges::any_of(stages_, [](const auto& stage) { return stage->holding(); });
}

absl::StatusOr<Decoder> Decoder::Parse(const JsonNode& node) {
  Decoder decoder;
  if (node.IsNull()) {
    decoder.steps_.push_back(SpaceJoinDecoder());
    return decoder;
  }
  Parsed parsed;
  RETURN_IF_ERROR(ParseStep(node, 0, &parsed));
  decoder.steps_ = std::move(parsed.steps);
  return decoder;
}

std::unique_ptr<DecodeStream> Decoder::Start() const {
  std::vector<std::unique_ptr<DecodeStage>> stages;
  for (const auto& step : steps_) stages.push_back(step->Start());
  return std::make_unique<DecodeStream>(std::move(stages));
}

std::string Decoder::TokenBytes(std::string_view token) const {
  std::string bytes(token);
  for (const auto& step : steps_) bytes = step->TokenBytes(std::move(bytes));
  return bytes;
}

}  // namespace hydrad
