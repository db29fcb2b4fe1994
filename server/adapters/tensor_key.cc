#include "server/adapters/tensor_key.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace hydrad {
namespace {

struct Mark {
  std::string_view in_key;
  std::string_view means;
};

// What gives away a thing that is not served. The first that is found counts.
constexpr std::array kForeign = {
    Mark{"lora_magnitude_vector", "DoRA is not supported"},
    Mark{"lora_embedding_", "LoRA on embeddings is not supported"},
    Mark{"trainable_tokens_delta", "trained tokens are not supported"},
    Mark{"token_adapter", "trained tokens are not supported"},
    Mark{"internal_xlora_classifier", "X-LoRA adapters are not supported"},
    Mark{"shared_LoRA_A", "MLLM-HydraLoRA adapters are not supported"},
    Mark{".LoRA_B", "MLLM-HydraLoRA adapters are not supported"},
    Mark{"moa_router", "is the router of an MoA, but adapter_config.json has another peft_type"},
    Mark{"mixlora.", "MixLoRA adapters are not supported"},
    Mark{"mola.", "is of MoLA, but the peft_type of adapter_config.json is not MOLA"},
    Mark{"moe_gate", "is of MoE-PEFT, but the peft_type of adapter_config.json is none of its"},
    Mark{"lora_gating", "is of AdaMoLE or MoLE, but the peft_type of adapter_config.json is not"},
    Mark{"lora_threshold", "is of AdaMoLE, but the peft_type of adapter_config.json is not ADAMOLE"},
    Mark{"lora_A.loraA.", "MOELoRA adapters are not supported"},
    Mark{"lora_B.loraB.", "MOELoRA adapters are not supported"},
    Mark{"lora_task_embedding", "MOELoRA adapters are not supported"},
    Mark{"lora_monteclora", "MonteCLoRA is not supported"},
    Mark{".lora_B.bias", "a bias in lora_B is not supported"},
    Mark{".bias", "trained biases are not supported"},
    Mark{"embed_tokens", "trained embeddings are not supported"},
    Mark{"lm_head", "changes to lm_head are not supported"},
    Mark{".modules_to_save", "whole modules beside the adapter are not supported"},
    Mark{"norm.weight", "trained norms are not supported"},
    Mark{".base_layer.", "weights of the base model are not supported"},
};

// Takes `prefix` off the front of `text`, if it is there.
bool Skip(std::string_view prefix, std::string_view* text) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

// Up to the next dot, which goes too.
std::string_view Segment(std::string_view* text) {
  const std::string_view segment = text->substr(0, text->find('.'));
  text->remove_prefix(std::min(text->size(), segment.size() + 1));
  return segment;
}

std::optional<int> Decimal(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.front() == '-') return std::nullopt;
  if (text.size() > 6 || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  return value;
}

std::optional<Projection> FindProjection(std::string_view block, std::string_view name) {
  for (int i = 0; i < kProjections; ++i) {
    const auto projection = static_cast<Projection>(i);
    const std::string_view home = projection < Projection::kGate ? "self_attn" : "mlp";
    if (name == kProjectionNames[i] && block == home) return projection;
  }
  return std::nullopt;
}

absl::Status CheckForeign(std::string_view key) {
  for (const Mark& mark : kForeign) {
    if (key.find(mark.in_key) != std::string_view::npos) return InvalidArgument("{}", mark.means);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TensorKey> ParseTensorKey(std::string_view key, int layers) {
  RETURN_IF_ERROR(CheckForeign(key));
  const absl::Status unexpected = InvalidArgument(
      "unexpected name; known are base_model.model.model.layers.<layer>.{{self_attn.{{q,k,v,o}},"
      "mlp.{{gate,up,down}}}}_proj.lora_<part>.weight");
  TensorKey result;
  std::string_view rest = key;
  if (!Skip("base_model.model.", &rest)) return unexpected;
  const std::string_view module = rest;
  if (!Skip("model.layers.", &rest)) return unexpected;
  const std::optional<int> layer = Decimal(Segment(&rest));
  const std::string_view block = Segment(&rest);
  const std::optional<Projection> projection = FindProjection(block, Segment(&rest));
  if (!layer || !projection) return unexpected;
  result.path = module.substr(0, module.size() - rest.size() - 1);
  if (!rest.starts_with("lora_") || !rest.ends_with(".weight")) return unexpected;
  result.part = rest.substr(0, rest.size() - std::string_view(".weight").size());
  if (result.part.find('.') != result.part.rfind('.')) return unexpected;
  if (*layer >= layers)
    return InvalidArgument("layer {} is outside of the model's {} layers", *layer, layers);
  result.layer = *layer;
  result.projection = *projection;
  return result;
}

}  // namespace hydrad
