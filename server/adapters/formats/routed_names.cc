#include "server/adapters/formats/routed_names.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "server/base/invalid_argument.h"

namespace hydrad {
namespace {

constexpr std::string_view kRoot = "base_model.model.model.layers.";
constexpr std::string_view kWeight = ".weight";

// One tensor of a module: how the code calls it and how HydraLoRA does. '#' stands for an expert's number.
struct Part {
  std::string_view file, hydra;
  bool copy = false;  // of the tensor that is called so
};
constexpr std::array kMoePeftParts = {
    Part{"moe_gate.weight", "lora_route.weight"},
    Part{"experts.#.lora_A.weight", "lora_A#.weight"},
    Part{"experts.#.lora_B.weight", "lora_B#.weight"},
};
constexpr std::array kAdaMoleParts = {
    Part{"lora_gating.weight", "lora_route.weight"},
    Part{"lora_threshold.weight", "lora_route_threshold.weight"},
    Part{"lora_threshold.bias", "lora_route_threshold_bias.weight"},
    Part{"lora_A.#.weight", "lora_A#.weight"},
    Part{"lora_B.#.weight", "lora_B#.weight"},
    Part{"moe_layer.experts.#.lora_A.weight", "lora_A#.weight", true},
    Part{"moe_layer.experts.#.lora_B.weight", "lora_B#.weight", true},
    Part{"moe_layer.gate.weight", "lora_route.weight", true},
    Part{"moe_layer.threshold_fn.weight", "lora_route_threshold.weight", true},
    Part{"moe_layer.threshold_fn.bias", "lora_route_threshold_bias.weight", true},
};

std::string_view RootOf(TensorNames names) {
  if (names == TensorNames::kMola) return "mola.layers.";
  return names == TensorNames::kLoraMoe ? "loramoe.layers." : kRoot;
}
std::span<const Part> PartsOf(TensorNames names) {
  if (names == TensorNames::kAdaMole) return kAdaMoleParts;
  return kMoePeftParts;
}

// The number that stands for '#' if `text` is of the form `pattern`; "" where the pattern has none.
std::optional<std::string_view> Match(std::string_view pattern, std::string_view text) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos)
    return text == pattern ? std::optional(std::string_view()) : std::nullopt;
  const std::string_view before = pattern.substr(0, hash), after = pattern.substr(hash + 1);
  if (text.size() <= before.size() + after.size() || !text.starts_with(before) || !text.ends_with(after)) {
    return std::nullopt;
  }
  const std::string_view number = text.substr(hash, text.size() - before.size() - after.size());
  const bool decimal = number.size() <= 6 && (number == "0" || number.front() != '0') &&
                       std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
  return decimal ? std::optional(number) : std::nullopt;
}

std::string Fill(std::string_view pattern, std::string_view number) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos) return std::string(pattern);
  return std::string(pattern.substr(0, hash)).append(number).append(pattern.substr(hash + 1));
}

// "LAYER.BLOCK.PROJECTION." off the front of `rest`; empty where it has fewer segments.
std::string_view TakeModule(std::string_view* rest) {
  size_t end = 0;
  for (int i = 0; i < 3; ++i) {
    const size_t dot = rest->find('.', end);
    if (dot == std::string_view::npos) return {};
    end = dot + 1;
  }
  const std::string_view module = rest->substr(0, end);
  rest->remove_prefix(end);
  return module;
}

struct Renamed {
  std::string name;
  bool copy;
};
std::optional<Renamed> HydraName(TensorNames names, std::string_view name) {
  const std::string_view root = RootOf(names);
  if (!name.starts_with(root)) return std::nullopt;
  std::string_view rest = name.substr(root.size());
  const std::string_view module = TakeModule(&rest);
  if (module.empty()) return std::nullopt;
  for (const Part& part : PartsOf(names)) {
    if (const auto number = Match(part.file, rest)) {
      return Renamed{std::string(kRoot).append(module) + Fill(part.hydra, *number), part.copy};
    }
  }
  return std::nullopt;
}

std::string FileName(TensorNames names, std::string_view hydra) {
  std::string_view rest = hydra.substr(kRoot.size());
  const std::string_view module = TakeModule(&rest);
  for (const Part& part : PartsOf(names)) {
    if (const auto number = Match(part.hydra, rest)) {
      return std::string(RootOf(names)).append(module) + Fill(part.file, *number);
    }
  }
  return std::string(hydra);
}

absl::Status Unexpected(TensorNames names, std::string_view name) {
  std::string known;
  for (const Part& part : PartsOf(names)) {
    if (!part.copy) known += fmt::format("{}{}", known.empty() ? "" : ", ", part.file);
  }
  return InvalidArgument("tensor '{}': unexpected name; known are {}<layer>.<module>. with {}", name,
                         RootOf(names), known);
}

}  // namespace

absl::StatusOr<Safetensors> InHydraNames(TensorNames names, const Safetensors& file) {
  Safetensors::Tensors tensors;
  std::vector<std::pair<const std::string*, std::string>> copies;
  for (const auto& [name, tensor] : file.tensors()) {
    auto renamed = HydraName(names, name);
    if (!renamed) return Unexpected(names, name);
    if (renamed->copy) {
      copies.emplace_back(&name, std::move(renamed->name));
      continue;
    }
    TensorInfo& info = tensors[std::move(renamed->name)];
    info = tensor;
    if (info.shape.size() == 1) info.shape.insert(info.shape.begin(), 1);  // a vector is one row
  }
  for (const auto& [copy, name] : copies) {
    const auto original = tensors.find(name);
    const TensorInfo& tensor = *file.Find(*copy);
    if (original == tensors.end() || original->second.dtype != tensor.dtype ||
        !std::ranges::equal(original->second.data, tensor.data)) {
      return InvalidArgument("tensor '{}': is not the same as '{}'", *copy, FileName(names, name));
    }
  }
  return Safetensors::View(std::move(tensors));
}

std::string InFileNames(TensorNames names, std::string_view text) {
  std::string result;
  for (size_t at = names == TensorNames::kPeft ? text.npos : text.find(kRoot); at != text.npos;
       at = text.find(kRoot)) {
    const size_t end = text.find(kWeight, at);
    if (end == text.npos) break;
    const size_t size = end + kWeight.size() - at;
    result.append(text.substr(0, at)) += FileName(names, text.substr(at, size));
    text.remove_prefix(at + size);
  }
  return result.append(text);
}

}  // namespace hydrad
