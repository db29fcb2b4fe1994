#include "tests/fakes/adapter_files.h"

#include <bit>
#include <cstring>
#include <random>

namespace hydrad {
namespace {

template <class Word>
void Append(std::string* bytes, Word word) {
  bytes->append(reinterpret_cast<const char*>(&word), sizeof(word));
}

// F16 bits of k / 64 for k in [64, 128): exponent 15, mantissa (k - 64) << 4.
uint16_t HalfOf(uint32_t k) { return static_cast<uint16_t>(15 << 10 | (k - 64) << 4); }

void AddModule(AdapterFiles* files, const std::string& module,
               std::map<std::string, std::vector<int64_t>> parts, const std::string& dtype, uint32_t seed) {
  for (auto& [part, shape] : parts) {
    files->tensors[kPrefix + module + "." + part + ".weight"] = MakeTensor(dtype, shape, seed++);
  }
}

Json Config() {
  return {{"peft_type", "LORA"},      {"r", 2},
          {"lora_alpha", 8},          {"bias", "none"},
          {"fan_in_fan_out", false},  {"modules_to_save", nullptr},
          {"task_type", "CAUSAL_LM"}, {"target_modules", {"q_proj", "down_proj"}}};
}

// {name, in, out} of the adapted modules of a layer.
struct Target {
  const char* name;
  int in, out;
};
constexpr Target kTargets[] = {{"self_attn.q_proj", 8, 12}, {"mlp.down_proj", 10, 8}};

}  // namespace

FakeTensor MakeTensor(const std::string& dtype, std::vector<int64_t> shape, uint32_t seed) {
  FakeTensor tensor{dtype, std::move(shape), {}};
  std::mt19937 random(seed);
  int64_t count = 1;
  for (const int64_t extent : tensor.shape) count *= extent;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t k = 64 + random() % 64;  // 1 to 2 in steps of 1/64: exact in every type
    const uint32_t bits = std::bit_cast<uint32_t>(static_cast<float>(k) / 64);
    if (dtype == "F16") {
      Append(&tensor.bytes, HalfOf(k));
    } else if (dtype == "BF16") {
      Append(&tensor.bytes, static_cast<uint16_t>(bits >> 16));
    } else {
      Append(&tensor.bytes, bits);
    }
  }
  return tensor;
}

std::string SafetensorsBytes(const std::map<std::string, FakeTensor>& tensors) {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  const std::string json = header.dump();
  std::string bytes;
  Append(&bytes, static_cast<uint64_t>(json.size()));
  return bytes + json + data;
}

std::map<std::string, std::string> AdapterFiles::Bytes() const {
  std::map<std::string, std::string> files = extra;
  files.emplace("adapter_config.json", config.dump(2));
  files.emplace("adapter_model.safetensors", SafetensorsBytes(tensors));
  return files;
}

ModelConfig TinyModel() {
  ModelConfig model;
  model.model_type = "llama";
  model.hidden_size = 8;
  model.num_layers = 2;
  model.num_heads = 2;
  model.num_kv_heads = 1;
  model.head_dim = 6;
  model.ffn_size = 10;
  model.vocab_size = 11;
  return model;
}

AdapterFiles PlainLora(uint32_t seed, const std::string& dtype) {
  AdapterFiles files{Config(), {}, {}};
  for (int layer = 0; layer < 2; ++layer) {
    for (const Target& target : kTargets) {
      AddModule(&files, std::to_string(layer) + "." + target.name,
                {{"lora_A", {2, target.in}}, {"lora_B", {target.out, 2}}}, dtype, seed += 100);
    }
  }
  return files;
}

AdapterFiles Hydra(uint32_t seed, bool shared_a) {
  AdapterFiles files{Config(), {}, {}};
  files.config["lora_nums"] = 3;
  files.config["enable_lora"] = nullptr;
  files.config["merge_weights"] = false;
  for (int layer = 0; layer < 2; ++layer) {
    for (const Target& target : kTargets) {
      std::map<std::string, std::vector<int64_t>> parts = {{"lora_route", {3, target.in}}};
      if (shared_a) parts["lora_A"] = {2, target.in};
      for (int e = 0; e < 3; ++e) {
        if (!shared_a) parts["lora_A" + std::to_string(e)] = {2, target.in};
        parts["lora_B" + std::to_string(e)] = {target.out, 2};
      }
      AddModule(&files, std::to_string(layer) + "." + target.name, parts, "F32", seed += 100);
    }
  }
  return files;
}

AdapterFiles MoePeft(const std::string& type) {
  const bool mola = type == "MOLA";
  AdapterFiles files{Config(), {}, {}};
  files.config.update(
      Json{{"peft_type", type}, {"routing_strategy", mola ? "mola" : "loramoe"}, {"num_experts", 3}});
  if (mola) files.config["top_k"] = 2;
  uint32_t seed = 1;
  for (int layer = 0; layer < 2; ++layer) {
    for (const Target& target : kTargets) {
      const std::string module =
          (mola ? "mola.layers." : "loramoe.layers.") + std::to_string(layer) + "." + target.name;
      files.tensors[module + ".moe_gate.weight"] = MakeTensor("F32", {3, target.in}, ++seed);
      for (int e = 0; e < 3; ++e) {
        const std::string expert = module + ".experts." + std::to_string(e);
        files.tensors[expert + ".lora_A.weight"] = MakeTensor("F32", {2, target.in}, ++seed);
        files.tensors[expert + ".lora_B.weight"] = MakeTensor("F32", {target.out, 2}, ++seed);
      }
    }
  }
  return files;
}

AdapterFiles AdaMole() {
  AdapterFiles files{Config(), {}, {}};
  files.config.erase("r");
  files.config.update(
      Json{{"peft_type", "ADAMOLE"}, {"lora_rank", 2}, {"num_experts", 3}, {"max_threshold", 0.5}});
  uint32_t seed = 1;
  for (int layer = 0; layer < 2; ++layer) {
    for (const Target& target : kTargets) {
      const std::string module = kPrefix + std::to_string(layer) + "." + target.name;
      files.tensors[module + ".lora_gating.weight"] = MakeTensor("F32", {3, target.in}, ++seed);
      files.tensors[module + ".lora_threshold.weight"] = MakeTensor("F32", {1, target.in}, ++seed);
      files.tensors[module + ".lora_threshold.bias"] = MakeTensor("F32", {1}, ++seed);
      for (int e = 0; e < 3; ++e) {
        const std::string number = "." + std::to_string(e) + ".weight";
        files.tensors[module + ".lora_A" + number] = MakeTensor("F32", {2, target.in}, ++seed);
        files.tensors[module + ".lora_B" + number] = MakeTensor("F32", {target.out, 2}, ++seed);
      }
    }
  }
  return files;
}

AdapterFiles Moa(uint32_t seed) {
  AdapterFiles files{Config(), {}, {}};
  files.config["peft_type"] = "MOA";
  files.config["experts"] = {"poems", "sums"};
  files.config["r"] = {2, 3};
  files.config["lora_alpha"] = 6;
  files.config["router"] = {{"input", "block_input"}, {"pool", "last"}, {"bias", true}};
  files.config["decision"] = "vote";
  for (int layer = 0; layer < 2; ++layer) {
    for (const Target& target : kTargets) {
      AddModule(&files, std::to_string(layer) + "." + target.name,
                {{"lora_A.poems", {2, target.in}},
                 {"lora_B.poems", {target.out, 2}},
                 {"lora_A.sums", {3, target.in}},
                 {"lora_B.sums", {target.out, 3}}},
                "F32", seed += 100);
    }
    const std::string router = kPrefix + std::to_string(layer) + ".moa_router.";
    files.tensors[router + "weight"] = MakeTensor("F32", {2, 8}, seed += 100);
    files.tensors[router + "bias"] = MakeTensor("F32", {2}, seed += 100);
  }
  return files;
}

AdapterFiles MoaOf(const std::vector<std::pair<std::string, uint32_t>>& experts, uint32_t router_seed) {
  AdapterFiles files = Moa();
  files.tensors.clear();
  files.config["experts"] = Json::array();
  files.config["r"] = 2;
  for (const auto& [name, seed] : experts) {
    files.config["experts"].push_back(name);
    uint32_t values = 1000 * seed;
    for (int layer = 0; layer < 2; ++layer) {
      for (const Target& target : kTargets) {
        AddModule(&files, std::to_string(layer) + "." + target.name,
                  {{"lora_A." + name, {2, target.in}}, {"lora_B." + name, {target.out, 2}}}, "F32",
                  values += 100);
      }
    }
  }
  const int64_t count = static_cast<int64_t>(experts.size());
  for (int layer = 0; layer < 2; ++layer) {
    const std::string router = kPrefix + std::to_string(layer) + ".moa_router.";
    files.tensors[router + "weight"] = MakeTensor("F32", {count, 8}, router_seed += 100);
    files.tensors[router + "bias"] = MakeTensor("F32", {count}, router_seed += 100);
  }
  return files;
}

void AddRouterRows(AdapterFiles* files, uint32_t seed, bool bias) {
  for (int layer = 0; layer < 2; ++layer) {
    const std::string router = kPrefix + std::to_string(layer) + ".moa_router.";
    files->tensors[router + "weight"] = MakeTensor("F32", {1, 8}, seed += 100);
    if (bias) files->tensors[router + "bias"] = MakeTensor("F32", {1}, seed += 100);
  }
}

}  // namespace hydrad
