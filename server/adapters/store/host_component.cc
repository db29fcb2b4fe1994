#include "server/adapters/store/host_component.h"

#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <utility>

#include "server/adapters/store/watched_disk.h"
#include "server/base/sha256.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

using Kind = ComponentInfo::Kind;

// Makes the digest of what a component says, wherever that stands.
class ContentDigest {
 public:
  template <class T>
  void Add(const std::vector<T>& values) {
    const uint64_t count = values.size();
    AddNumber(count);
    sha_.Update(std::as_bytes(std::span(values)));
  }
  void AddText(const std::string& text) {
    AddNumber(text.size());
    sha_.Update(text);
  }
  void AddNumber(uint64_t number) { sha_.Update(std::as_bytes(std::span(&number, 1))); }
  void Add(const HostMatrix& m) {
    for (const int number : {static_cast<int>(m.dtype), m.rows, m.cols}) AddNumber(number);
    const size_t bytes = BytesOf(static_cast<size_t>(m.rows) * m.cols, m.dtype);
    sha_.Update({static_cast<const std::byte*>(m.data), bytes});
  }
  std::string Finish() { return "sha256:" + Hex(sha_.Finish()); }

 private:
  Sha256 sha_;
};

// The digest of an expert, which is a plain LoRA of the layers' projections.
std::string DigestOf(const AdapterWeights& weights) {
  ContentDigest digest;
  for (const ProjectionWeights& p : weights.projections) {
    digest.AddNumber(p.layer);
    digest.AddNumber(static_cast<uint64_t>(p.projection));
    for (const auto* matrices : {&p.a, &p.b}) {
      for (const HostMatrix& m : *matrices) digest.Add(m);
    }
    digest.Add(p.scale);
    digest.Add(p.out_scale);
    digest.Add(p.out_bias);
  }
  return digest.Finish();
}

std::string DigestOf(const MoaRouters& routers) {
  ContentDigest digest;
  digest.AddNumber(static_cast<uint64_t>(routers.pool));
  digest.AddNumber(static_cast<uint64_t>(routers.decision));
  for (const MoaRouters::Expert& expert : routers.experts) {
    digest.AddText(expert.name);
    digest.Add(expert.row);
    digest.Add(expert.bias);
  }
  return digest.Finish();
}

uint64_t RowBytes(const ExpertWeights& expert) {
  return (expert.router.size() + expert.router_bias.size()) * sizeof(float);
}

LoadedComponent Routers(const std::string& path, AdapterContents& contents) {
  LoadedComponent read;
  MoaRouters& routers = read.component.routers.emplace();
  routers.pool = contents.pool;
  routers.decision = contents.decision;
  for (ExpertWeights& expert : contents.experts_by_name) {
    read.info.host_bytes += RowBytes(expert);
    routers.experts.push_back({expert.name, std::move(expert.router), std::move(expert.router_bias)});
  }
  read.info.path = path;
  read.info.kind = Kind::kRouters;
  read.info.digest = DigestOf(routers);
  // The file's tensors, and perhaps a wider copy, stand beside the rows.
  read.info.reading_bytes = 3 * read.info.host_bytes;
  return read;
}

LoadedComponent Expert(const std::string& path, AdapterContents& contents, size_t e) {
  ExpertWeights& expert = contents.experts_by_name[e];
  LoadedComponent read;
  read.info.path = path;
  read.info.kind = Kind::kExpert;
  read.info.expert = expert.name;
  read.info.digest = DigestOf(expert.weights);
  read.info.host_bytes = contents.expert_host_bytes[e];
  // A bundle's tensors stand beside their copy, rows beside the file of an expert's own.
  read.info.reading_bytes = 2 * read.info.host_bytes;
  read.component.traits = TraitsOf(expert.weights);
  read.component.weights = std::move(expert.weights);
  return read;
}

LoadedComponent Whole(const std::string& path, AdapterContents contents) {
  LoadedComponent read;
  read.info = {path, contents.digest, contents.host_bytes};
  read.component = {std::move(contents.weights), contents.traits, std::move(contents.invocation)};
  return read;
}

absl::StatusOr<LoadedComponent> ReadFiles(Disk& disk, const ComponentInfo& info, const AdapterShape& shape,
                                          uint64_t max_file_bytes, const BaseWeights* base) {
  if (info.kind == Kind::kWhole) {
    ASSIGN_OR_RETURN(AdapterContents contents,
                     ReadAdapter(disk, info.path, shape, max_file_bytes, base, info.lenient));
    // A journal from before MoAs had components tells of it as a whole.
    if (!contents.experts_by_name.empty()) return FailedPrecondition("{}: must be loaded again", info.path);
    return Whole(info.path, std::move(contents));
  }
  ASSIGN_OR_RETURN(AdapterContents contents, ReadMoaComponent(disk, info.path, info.kind, info.expert, shape,
                                                              max_file_bytes, info.lenient));
  if (info.kind == Kind::kRouters) return Routers(info.path, contents);
  const auto& experts = contents.experts_by_name;
  const auto found = std::ranges::find(experts, info.expert, &ExpertWeights::name);
  return Expert(info.path, contents, static_cast<size_t>(found - experts.begin()));
}

// Whether another try could go better: the disk was at fault, or what it holds is being changed, or there was
// no memory. Files that were read to their end and are no adapter any more are other content than was loaded.
bool MayPass(const absl::Status& status, bool disk_failed) {
  return disk_failed || absl::IsUnavailable(status) || absl::IsResourceExhausted(status) ||
         absl::IsInternal(status);
}
absl::Status AsPassing(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) ? Unavailable("{}", std::string(status.message())) : status;
}
absl::Status AsFinal(const absl::Status& status) {
  return FailedPrecondition("{}", std::string(status.message()));
}

}  // namespace

std::vector<LoadedComponent> TakeApart(const std::string& path, AdapterContents contents, bool lenient) {
  std::vector<LoadedComponent> components;
  if (contents.experts_by_name.empty()) {
    components.push_back(Whole(path, std::move(contents)));
  } else {
    components.push_back(Routers(path, contents));
    for (size_t e = 0; e < contents.experts_by_name.size(); ++e)
      components.push_back(Expert(path, contents, e));
  }
  for (LoadedComponent& component : components) component.info.lenient = lenient;
  return components;
}

absl::StatusOr<LoadedComponent> ReadComponent(Disk& disk, const ComponentInfo& info,
                                              const AdapterShape& shape, uint64_t max_file_bytes,
                                              const BaseWeights* base) {
  WatchedDisk watched(disk);
  absl::StatusOr<LoadedComponent> files = ReadFiles(watched, info, shape, max_file_bytes, base);
  if (!files.ok())
    return MayPass(files.status(), watched.failed()) ? AsPassing(files.status()) : AsFinal(files.status());
  LoadedComponent read = *std::move(files);
  if (read.info.digest == info.digest) return read;
  const std::string what = info.kind == Kind::kExpert
                               ? fmt::format("{}: expert '{}' has", info.path, info.expert)
                           : info.kind == Kind::kRouters ? info.path + ": the routers have"
                                                         : info.path + ": the files have";
  return FailedPrecondition("{} the digest {}, not {}", what, read.info.digest, info.digest);
}

}  // namespace hydrad
