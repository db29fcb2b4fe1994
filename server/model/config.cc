#include "server/model/config.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <numbers>

#include "server/base/mapped_file.h"

namespace hydrad {
namespace {

using Json = nlohmann::json;

// Reads fields of one JSON object and keeps the first error, so that a list of reads needs one check at its
// end. A field that is null counts as absent, as in transformers.
class Fields {
 public:
  Fields(std::string file, const Json& object, std::string path = "")
      : file_(std::move(file)), path_(std::move(path)), object_(object) {}

  bool Has(const char* name) const { return object_.contains(name) && !object_[name].is_null(); }

  int Int(const char* name, int64_t low, int64_t high) {
    if (!Has(name)) return Fail(name, "is missing"), 0;
    const Json& value = object_[name];
    if (!value.is_number_integer()) return Fail(name, "is not an integer"), 0;
    const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(high);
    if (huge || value.get<int64_t>() < low || value.get<int64_t>() > high) {
      return Fail(name, fmt::format("is not within {} to {}", low, high)), 0;
    }
    return value.get<int>();
  }
  int IntOr(const char* name, int64_t low, int64_t high, int otherwise) {
    return Has(name) ? Int(name, low, high) : otherwise;
  }
  bool BoolOr(const char* name, bool otherwise) {
    if (!Has(name)) return otherwise;
    if (!object_[name].is_boolean()) return Fail(name, "is not true or false"), otherwise;
    return object_[name].get<bool>();
  }
  // A number above 0 and at most `high`.
  double PositiveOr(const char* name, double high, double otherwise) {
    if (!Has(name)) return otherwise;
    const Json& value = object_[name];
    const double number = value.is_number() ? value.get<double>() : 0;
    if (!(number > 0 && number <= high))
      return Fail(name, fmt::format("is not within 0 to {}", high)), otherwise;
    return number;
  }
  std::string StringOr(const char* name, const std::string& otherwise) {
    if (!Has(name)) return otherwise;
    if (!object_[name].is_string()) return Fail(name, "is not a string"), otherwise;
    return object_[name].get<std::string>();
  }

  void Fail(const char* name, std::string_view what) {
    if (status_.ok()) status_ = InvalidArgument("{}: {}{} {}", file_, path_, name, what);
  }
  const absl::Status& status() const { return status_; }

 private:
  std::string file_, path_;
  const Json& object_;
  absl::Status status_;
};

// Bounds that keep every product of two sizes within an int.
constexpr int kMaxWidth = 1 << 17, kMaxVocab = 1 << 20, kMaxLayers = 1024, kMaxPositions = 1 << 24;

void ReadSizes(Fields& f, ModelConfig& c) {
  c.hidden_size = f.Int("hidden_size", 1, kMaxWidth);
  c.num_layers = f.Int("num_hidden_layers", 1, kMaxLayers);
  c.num_heads = f.Int("num_attention_heads", 1, 1024);
  c.num_kv_heads = f.IntOr("num_key_value_heads", 1, 1024, c.num_heads);
  c.ffn_size = f.Int("intermediate_size", 1, kMaxWidth);
  c.vocab_size = f.Int("vocab_size", 1, kMaxVocab);
  c.max_positions = f.Int("max_position_embeddings", 1, kMaxPositions);
  c.norm_eps = static_cast<float>(f.PositiveOr("rms_norm_eps", 1, 1e-6));
  if (!f.status().ok()) return;
  if (c.num_heads % c.num_kv_heads != 0)
    f.Fail("num_attention_heads", "is no multiple of num_key_value_heads");
  if (!f.Has("head_dim") && c.hidden_size % c.num_heads != 0) {
    f.Fail("hidden_size", "is no multiple of num_attention_heads");
  }
  c.head_dim = f.IntOr("head_dim", 2, 1024, c.hidden_size / c.num_heads);
  if (c.head_dim % 2 != 0) f.Fail("head_dim", "is odd");
  if (c.num_heads * c.head_dim > kMaxWidth) f.Fail("head_dim", "makes the heads too wide together");
}

// What sets the families apart; everything else is one network.
void ReadFamily(Fields& f, ModelConfig& c) {
  c.model_type = f.StringOr("model_type", "");
  const bool llama = c.model_type == "llama", qwen2 = c.model_type == "qwen2",
             qwen3 = c.model_type == "qwen3";
  if (!llama && !qwen2 && !qwen3 && c.model_type != "mistral") {
    f.Fail("model_type", fmt::format("'{}' is not llama, mistral, qwen2 or qwen3", c.model_type));
  }
  const bool attention_bias = (llama || qwen3) && f.BoolOr("attention_bias", false);
  c.qkv_bias = qwen2 || attention_bias;
  c.o_bias = attention_bias;
  c.mlp_bias = llama && f.BoolOr("mlp_bias", false);
  c.qk_norm = qwen3;
  c.tied_embeddings = f.BoolOr("tie_word_embeddings", false);
}

void RefuseUnsupported(Fields& f) {
  const std::string activation = f.StringOr("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    f.Fail("hidden_act", fmt::format("'{}' is not silu", activation));
  }
  if (f.Has("quantization_config"))
    f.Fail("quantization_config", "is not supported: weights must be bf16, f16 or f32");
  if (f.PositiveOr("partial_rotary_factor", 1, 1) != 1)
    f.Fail("partial_rotary_factor", "other than 1 is not supported");
}

// Mistral's window is on when it is given; Qwen's only with use_sliding_window, from layer max_window_layers.
void ReadWindow(Fields& f, ModelConfig& c) {
  if (!f.Has("sliding_window")) return;
  const int window = f.Int("sliding_window", 1, kMaxPositions);
  bool active = c.model_type == "mistral";
  if (c.model_type == "qwen2" || c.model_type == "qwen3") {
    active = f.BoolOr("use_sliding_window", false) &&
             f.IntOr("max_window_layers", 0, kMaxLayers, 0) < c.num_layers;
  }
  if (active && window < c.max_positions) c.sliding_window = window;
}

void ReadScaling(Fields f, ModelConfig::Rope& rope, absl::Status& status) {
  const std::string type = f.StringOr("rope_type", f.StringOr("type", "default"));
  rope.theta = f.PositiveOr("rope_theta", 1e12, rope.theta);
  if (type == "linear" || type == "llama3") {
    rope.factor = f.PositiveOr("factor", 1e6, 0);
    if (!f.Has("factor")) f.Fail("factor", "is missing");
  }
  if (type == "linear") {
    rope.scaling = ModelConfig::Rope::Scaling::kLinear;
  } else if (type == "llama3") {
    rope.scaling = ModelConfig::Rope::Scaling::kLlama3;
    rope.low_freq_factor = f.PositiveOr("low_freq_factor", 1e6, rope.low_freq_factor);
    rope.high_freq_factor = f.PositiveOr("high_freq_factor", 1e6, rope.high_freq_factor);
    rope.original_max_positions = f.PositiveOr("original_max_position_embeddings", kMaxPositions, 8192);
    if (rope.high_freq_factor <= rope.low_freq_factor)
      f.Fail("high_freq_factor", "is not above low_freq_factor");
  } else if (type != "default") {
    f.Fail("rope_type", fmt::format("'{}' is not default, linear or llama3", type));
  }
  status = f.status();
}

absl::Status ReadRope(Fields& f, const Json& object, ModelConfig::Rope& rope) {
  rope.theta = f.PositiveOr("rope_theta", 1e12, 10000);
  absl::Status status = f.status();
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!status.ok() || !f.Has(name)) continue;
    if (!object[name].is_object()) return InvalidArgument("config.json: {} is not an object", name);
    ReadScaling(Fields("config.json", object[name], std::string(name) + "."), rope, status);
  }
  return status;
}

// eos_token_id is a number, a list or absent; those of both files count.
absl::Status ReadEos(const std::string& file, const Json& object, std::vector<int32_t>& eos) {
  if (!object.contains("eos_token_id") || object["eos_token_id"].is_null()) return absl::OkStatus();
  const Json& value = object["eos_token_id"];
  for (const Json& id : value.is_array() ? value : Json::array({value})) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > kMaxVocab) {
      return InvalidArgument("{}: eos_token_id is not a token id or a list of them", file);
    }
    const int32_t token = id.get<int32_t>();
    if (std::find(eos.begin(), eos.end(), token) == eos.end()) eos.push_back(token);
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> ParseObject(const std::string& file, std::string_view text) {
  Json object = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return InvalidArgument("{}: not a JSON object", file);
  return object;
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  return std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json) {
  ASSIGN_OR_RETURN(const Json object, ParseObject("config.json", json));
  Fields fields("config.json", object);
  ModelConfig config;
  ReadFamily(fields, config);
  RefuseUnsupported(fields);
  ReadSizes(fields, config);
  ReadWindow(fields, config);
  RETURN_IF_ERROR(fields.status());
  RETURN_IF_ERROR(ReadRope(fields, object, config.rope));
  RETURN_IF_ERROR(ReadEos("config.json", object, config.eos_tokens));
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& dir) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(dir + "/config.json"));
  absl::StatusOr<ModelConfig> config = ParseModelConfig(text);
  if (!config.ok()) return Annotate(config.status(), dir);
  const absl::StatusOr<std::string> generation = ReadText(dir + "/generation_config.json");
  if (absl::IsNotFound(generation.status())) return config;
  RETURN_IF_ERROR(generation.status());
  ASSIGN_OR_RETURN(const Json object, ParseObject(dir + "/generation_config.json", *generation));
  RETURN_IF_ERROR(ReadEos(dir + "/generation_config.json", object, config->eos_tokens));
  return config;
}

std::vector<double> InverseFrequencies(const ModelConfig& config) {
  using Scaling = ModelConfig::Rope::Scaling;
  const ModelConfig::Rope& rope = config.rope;
  std::vector<double> result(config.head_dim / 2);
  for (size_t i = 0; i < result.size(); ++i) {
    const double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(i) / config.head_dim);
    result[i] = frequency;
    if (rope.scaling == Scaling::kLinear) result[i] = frequency / rope.factor;
    if (rope.scaling == Scaling::kLlama3) {
      // How often the wave fits into the original context decides: often: kept, seldom: stretched, between:
      // blended.
      const double turns = rope.original_max_positions * frequency / (2 * std::numbers::pi);
      const double kept = std::clamp(
          (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
      result[i] = kept * frequency + (1 - kept) * frequency / rope.factor;
    }
  }
  return result;
}

}  // namespace hydrad
