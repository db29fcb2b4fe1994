#include "server/adapters/store/adapter_reader.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "server/adapters/formats/adapter_chat.h"
#include "server/adapters/formats/base_name.h"
#include "server/adapters/formats/host_bytes.h"
#include "server/adapters/formats/read_adapter.h"
#include "server/adapters/formats/read_tokens.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

AdapterInfo Describe(const std::string& name, const std::string& path, const AdapterContents& contents) {
  AdapterInfo info;
  info.name = name;
  info.state = AdapterState::kUnloaded;
  info.path = path;
  info.family = contents.family;
  info.digest = contents.digest;
  info.host_bytes = contents.host_bytes;
  info.max_rank = contents.max_rank;
  info.experts = contents.experts;
  info.targets = contents.targets;
  for (const ExpertWeights& expert : contents.experts_by_name) info.expert_names.push_back(expert.name);
  info.warnings = contents.warnings;
  return info;
}

}  // namespace

absl::StatusOr<uint64_t> AdapterReader::BytesToRead(const std::string& path) const {
  return HostBytesToRead(disk_, path, options_.max_file_bytes);
}

absl::StatusOr<AdapterReader::Adapter> AdapterReader::Read(const std::string& name, const std::string& path,
                                                           const ChangeOptions& change) const {
  ASSIGN_OR_RETURN(AdapterContents contents, ReadAdapter(disk_, path, shape_, options_.max_file_bytes,
                                                         options_.base.get(), change.lenient));
  if (!change.digest.empty() && contents.digest != change.digest) {
    return FailedPrecondition("{}: the files have the digest {}, not {}", path, contents.digest,
                              change.digest);
  }
  Adapter read{Describe(name, path, contents), {}};
  AdapterInfo& info = read.info;
  info.lenient = change.lenient;
  if (!IsNameOf(options_.base_names, contents.base_model)) {
    info.warnings.push_back(fmt::format("its config names the base model '{}'; this is '{}'",
                                        contents.base_model, options_.base_names.front()));
  }
  ASSIGN_OR_RETURN(info.chat, ReadAdapterChat(disk_, path, options_.base_chat.get()));
  if (info.chat != nullptr && !info.chat->status().ok()) {
    info.warnings.push_back(fmt::format("{}: chat with it is refused, the rest serves",
                                        std::string(info.chat->status().message())));
  }
  if (options_.base_tokenizer != nullptr) {
    const int vocab = std::max(shape_.vocab, VocabOf(contents.weights.embedding, shape_));
    ASSIGN_OR_RETURN(info.tokens, ReadAdapterTokens(disk_, path, *options_.base_tokenizer, shape_.vocab,
                                                    vocab, &info.warnings));
  }
  read.components = TakeApart(path, std::move(contents), change.lenient);
  for (LoadedComponent& loaded : read.components) {
    loaded.info.device_bytes = DeviceBytes(loaded.component, backend_, shape_);
    info.device_bytes += loaded.info.device_bytes;
    if (read.components.size() > 1) info.components.push_back(loaded.info);
  }
  if (info.device_bytes <= options_.device_bytes) return read;
  return ResourceExhausted("{}: needs {} bytes on the device, where adapters have {}", path,
                           info.device_bytes, options_.device_bytes);
}

absl::StatusOr<LoadedComponent> AdapterReader::ReadComponent(const ComponentInfo& info) const {
  ASSIGN_OR_RETURN(LoadedComponent loaded,
                   hydrad::ReadComponent(disk_, info, shape_, options_.max_file_bytes, options_.base.get()));
  loaded.info.device_bytes = DeviceBytes(loaded.component, backend_, shape_);
  return loaded;
}

absl::StatusOr<std::shared_ptr<const DeviceComponent>> AdapterReader::Upload(
    const HostComponent& component) const {
  return UploadComponent(component, backend_, shape_);
}

}  // namespace hydrad
