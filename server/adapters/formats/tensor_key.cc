#include "server/adapters/formats/tensor_key.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

struct Mark {
  std::string_view in_key;
  std::string_view means;
};

constexpr char kNamed[] =
    "holds the adapter's name, as a model's state dict does: save it with save_pretrained, or take "
    "'.default' out "
    "of the names";

constexpr std::string_view kOriginal = ".original_module.";

// What gives away a thing that is not served. The first that is found counts.
constexpr std::array kForeign = {
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
    Mark{"norm.weight", "trained norms are not supported"},
    Mark{kOriginal, "weights of the base model are not supported"},
    Mark{"lora_diag", "KaSA is not supported"},
    Mark{"lora_magnitude_vector.default", kNamed},
    Mark{"lora_embedding_A.default", kNamed},
    Mark{"lora_embedding_B.default", kNamed},
    Mark{"modules_to_save.default", kNamed},
};

// Ends of keys that stand for one part in the files of different versions of PEFT.
struct Spelling {
  std::string_view end, part;
};
constexpr std::array kAnyModule = {
    Spelling{"bias", kBiasPart},
    Spelling{"base_layer.bias", kBiasPart},
    Spelling{"lora_B.bias", "lora_B.bias"},
    Spelling{"lora_magnitude_vector", "lora_magnitude_vector"},
    Spelling{"lora_velora_embed", kVeloraPart},
};
constexpr std::array kVocabularyModule = {
    Spelling{"weight", kWeightPart},
    Spelling{"modules_to_save.weight", kWeightPart},
    Spelling{"original_module.weight", kOriginalPart},
    Spelling{"base_layer.weight", kBaseLayerPart},
    Spelling{"token_adapter.base_layer.weight", kBaseLayerPart},
    Spelling{"token_adapter.trainable_tokens_delta", kTrainedTokensPart},
    Spelling{"lora_embedding_A", "lora_embedding_A"},
    Spelling{"lora_embedding_B", "lora_embedding_B"},
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
  for (int i = 0; i < kLayerProjections; ++i) {
    const auto projection = static_cast<Projection>(i);
    const std::string_view home = projection < Projection::kGate ? "self_attn" : "mlp";
    if (name == kProjectionNames[i] && block == home) return projection;
  }
  return std::nullopt;
}

absl::Status CheckForeign(std::string_view key) {
  for (const Mark& mark : kForeign) {
    if (mark.in_key == kOriginal && (key.ends_with("embed_tokens.original_module.weight") ||
                                     key.ends_with("lm_head.original_module.weight"))) {
      continue;
    }
    if (key.find(mark.in_key) != std::string_view::npos) return InvalidArgument("{}", mark.means);
  }
  return absl::OkStatus();
}

// Takes the module off the front of `rest`, which has lost its prefix. False where it is none of the model's.
bool TakeModule(std::string_view* rest, TensorKey* key) {
  const std::string_view whole = *rest;
  if (Skip("model.embed_tokens.", rest)) {
    key->projection = Projection::kEmbedding;
  } else if (Skip("lm_head.", rest)) {
    key->projection = Projection::kHead;
  } else {
    if (!Skip("model.layers.", rest)) return false;
    const std::optional<int> layer = Decimal(Segment(rest));
    const std::string_view block = Segment(rest);
    const std::optional<Projection> projection = FindProjection(block, Segment(rest));
    if (!layer || !projection || rest->empty()) return false;
    key->layer = *layer;
    key->projection = *projection;
  }
  key->path = whole.substr(0, whole.size() - rest->size() - 1);
  return true;
}

// The part that `end`, all of the key behind its module, stands for; empty if none.
std::string_view PartOf(std::string_view end, Projection projection) {
  const auto spelled = [end](const auto& table) {
    const auto found = std::ranges::find(table, end, &Spelling::end);
    return found == table.end() ? std::string_view() : found->part;
  };
  if (const std::string_view part = spelled(kAnyModule); !part.empty()) return part;
  if (projection == Projection::kEmbedding || projection == Projection::kHead) {
    if (const std::string_view part = spelled(kVocabularyModule); !part.empty()) return part;
  }
  if (!end.starts_with("lora_") || !end.ends_with(".weight")) return {};
  const std::string_view part = end.substr(0, end.size() - std::string_view(".weight").size());
  return part.find('.') == part.rfind('.') ? part : std::string_view();
}

}  // namespace

absl::StatusOr<TensorKey> ParseTensorKey(std::string_view key, int layers) {
  RETURN_IF_ERROR(CheckForeign(key));
  const absl::Status unexpected = InvalidArgument(
      "unexpected name; known are base_model.model.model.layers.<layer>.{{self_attn.{{q,k,v,o}},"
      "mlp.{{gate,up,down}}}}_proj.lora_<part>.weight, and what PEFT saves of biases, embed_tokens and "
      "lm_head");
  TensorKey result;
  std::string_view rest = key;
  if (!Skip("base_model.model.", &rest) || !TakeModule(&rest, &result)) return unexpected;
  result.part = PartOf(rest, result.projection);
  if (rest == "base_layer.weight" && result.part.empty()) {
    return InvalidArgument(
        "weights of the base model are not supported, but those of embed_tokens and lm_head");
  }
  if (result.part.empty()) return unexpected;
  if (result.layer >= layers)
    return InvalidArgument("layer {} is outside of the model's {} layers", result.layer, layers);
  return result;
}

bool IsOfAnotherModule(std::string_view key, int layers) {
  TensorKey parsed;
  std::string_view rest = key;
  if (key.find(".lora_") == key.npos || !CheckForeign(key).ok() || !Skip("base_model.model.", &rest))
    return false;
  return !TakeModule(&rest, &parsed) || parsed.layer >= layers;
}

}  // namespace hydrad
