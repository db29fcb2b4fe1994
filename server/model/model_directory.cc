#include "server/model/model_directory.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "server/backend/host_rows.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/model/checkpoint.h"

namespace hydrad {
namespace {

struct Lookalike {
  std::string_view end;  // of a file's name
  std::string_view what;
};
constexpr std::array kLookalikes = {
    Lookalike{".gguf", "'hydrad-tools model import' makes a model directory of a GGUF file"},
    Lookalike{"adapter_config.json", "this is the directory of an adapter: see --adapter-root and --adapter"},
    Lookalike{"pytorch_model.bin.index.json", "pickles are never opened: convert them to safetensors"},
    Lookalike{".bin", "pickles are never opened: convert them to safetensors"},
    Lookalike{".pth", "pickles are never opened: convert them to safetensors in Hugging Face's layout"},
    Lookalike{"consolidated.safetensors",
              "its tensors have Mistral's own names: convert to Hugging Face's layout"},
    Lookalike{".npz",
              "weights of MLX are not supported: convert them to safetensors in Hugging Face's layout"},
    Lookalike{".h5", "weights of TensorFlow are not supported: convert them to safetensors"},
    Lookalike{".msgpack", "weights of Flax are not supported: convert them to safetensors"},
};

// "-00001-of-00003.safetensors" is a shard whatever the numbers are.
bool IsShard(const std::string& name) {
  return name.find("-of-") != std::string::npos && name.ends_with(".safetensors");
}

std::vector<std::string> NamesIn(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

absl::StatusOr<bool> HasHeadOfItsOwn(const std::string& dir, const ModelConfig& config) {
  const auto checkpoint = Checkpoint::Open(dir);
  if (absl::IsNotFound(checkpoint.status())) return false;
  RETURN_IF_ERROR(checkpoint.status());
  const std::vector<std::string_view> names = (*checkpoint)->names();
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    if (std::ranges::find(names, name) == names.end()) return false;
  }
  ASSIGN_OR_RETURN(const OwnedMatrix embedding,
                   (*checkpoint)->Read("model.embed_tokens.weight", config.vocab_size, config.hidden_size));
  bool same = true;
  const auto compare = [&](int first, const HostMatrix& block) {
    same = same && SameRows(embedding.view, first, block);
  };
  RETURN_IF_ERROR((*checkpoint)->Visit("lm_head.weight", config.vocab_size, config.hidden_size, compare));
  return !same;
}

absl::Status ExplainModelDirectory(const absl::Status& status, const std::string& dir) {
  if (!absl::IsNotFound(status)) return status;
  std::error_code error;
  const bool file = std::filesystem::is_regular_file(dir, error);
  const std::vector<std::string> names = file ? std::vector{dir} : NamesIn(dir);
  for (const Lookalike& lookalike : kLookalikes) {
    const auto found =
        std::ranges::find_if(names, [&](const std::string& name) { return name.ends_with(lookalike.end); });
    if (found == names.end()) continue;
    return InvalidArgument("{}, but there is '{}': {}", std::string(status.message()), *found,
                           lookalike.what);
  }
  if (file) return InvalidArgument("{}: is a file, where a model's directory is expected", dir);
  if (const auto shard = std::ranges::find_if(names, IsShard); shard != names.end()) {
    return InvalidArgument(
        "{}, but there is '{}': the index of the shards, model.safetensors.index.json, is missing",
        std::string(status.message()), *shard);
  }
  return status;
}

}  // namespace hydrad
