#include "server/adapters/store/journal.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "server/adapters/adapter_tokens.h"
#include "server/base/invalid_argument.h"
#include "server/base/json.h"
#include "server/base/log.h"
#include "server/base/sha256.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"
#include "server/text/chat_format.h"

namespace hydrad {
namespace {

constexpr std::string_view kHeader = "hydrad adapters journal 1\n";
constexpr std::string_view kHeaderOfAny = "hydrad adapters journal ";
constexpr size_t kChecksum = 8, kFrame = sizeof(uint32_t) + kChecksum;
constexpr uint32_t kMaxPayload = 1 << 20;
// A file is rewritten when it is this large and mostly history.
constexpr uint64_t kCompactAt = 256 << 10;

std::string Frame(std::string_view payload) {
  const uint32_t length = static_cast<uint32_t>(payload.size());
  std::string frame(reinterpret_cast<const char*>(&length), sizeof(length));
  Sha256 digest;
  digest.Update(frame);
  digest.Update(payload);
  const Sha256::Digest sum = digest.Finish();
  frame.append(reinterpret_cast<const char*>(sum.data()), kChecksum);
  return frame;
}

const char* Name(ComponentInfo::Kind kind) {
  switch (kind) {
    case ComponentInfo::Kind::kWhole:
      return "whole";
    case ComponentInfo::Kind::kExpert:
      return "expert";
    case ComponentInfo::Kind::kRouters:
      return "routers";
  }
  return "unknown";
}

Json ToJson(const ComponentInfo& component) {
  return {{"kind", Name(component.kind)},
          {"expert", component.expert},
          {"digest", component.digest},
          {"host_bytes", component.host_bytes},
          {"reading_bytes", component.reading_bytes},
          {"generation", component.generation}};
}

Json ToJson(const ChatFormat& chat) {
  const absl::StatusOr<ChatFiles>& files = chat.files();
  if (!files.ok()) return {{"broken", std::string(files.status().message())}};
  return {{"templates", files->templates}, {"tokens", files->tokens}};
}

Json ToJson(const AdapterTokens& tokens) {
  return {{"vocab", tokens.vocab},
          {"base_vocab", tokens.base_vocab},
          {"more", tokens.more},
          {"eos_token", tokens.eos_token}};
}

Json ToJson(const AdapterInfo& info) {
  Json components = Json::array();
  for (const ComponentInfo& component : info.components) components.push_back(ToJson(component));
  Json json = {{"name", info.name},
               {"path", info.path},
               {"digest", info.digest},
               {"generation", info.generation},
               {"pinned", info.pinned},
               {"family", info.family},
               {"host_bytes", info.host_bytes},
               {"max_rank", info.max_rank},
               {"experts", info.experts},
               {"targets", info.targets},
               {"expert_names", info.expert_names},
               {"lenient", info.lenient},
               {"warnings", info.warnings},
               {"pieces", std::move(components)}};
  if (info.chat != nullptr) json["chat"] = ToJson(*info.chat);
  if (info.tokens != nullptr) json["tokens"] = ToJson(*info.tokens);
  return json;
}

Json ToJson(const AnsweredRequest& request) {
  return {
      {"id", request.id}, {"what", request.what}, {"name", request.name}, {"generation", request.generation}};
}

// These throw where the record is not as we write it: Parse catches it.
ComponentInfo ComponentFrom(const Json& json, const std::string& path) {
  ComponentInfo component;
  component.path = path;
  component.kind =
      json.at("kind") == "routers" ? ComponentInfo::Kind::kRouters : ComponentInfo::Kind::kExpert;
  component.expert = json.at("expert").get<std::string>();
  component.digest = json.at("digest").get<std::string>();
  component.host_bytes = json.at("host_bytes").get<uint64_t>();
  component.reading_bytes = json.at("reading_bytes").get<uint64_t>();
  component.generation = json.at("generation").get<uint64_t>();
  return component;
}

std::shared_ptr<const ChatFormat> ChatFrom(const Json& json) {
  using Texts = std::map<std::string, std::string>;
  if (json.contains("broken"))
    return std::make_shared<const ChatFormat>(InvalidArgument("{}", json.at("broken").get<std::string>()));
  return std::make_shared<const ChatFormat>(
      ChatFiles{.templates = json.at("templates").get<Texts>(), .tokens = json.at("tokens").get<Texts>()});
}

std::shared_ptr<const AdapterTokens> TokensFrom(const Json& json) {
  AdapterTokens tokens;
  tokens.vocab = json.at("vocab").get<int>();
  tokens.base_vocab = json.at("base_vocab").get<int>();
  tokens.more = json.at("more").get<std::string>();
  tokens.eos_token = json.at("eos_token").get<std::string>();
  return std::make_shared<const AdapterTokens>(std::move(tokens));
}

AdapterInfo InfoFrom(const Json& json) {
  AdapterInfo info;
  info.name = json.at("name").get<std::string>();
  info.path = json.at("path").get<std::string>();
  info.digest = json.at("digest").get<std::string>();
  info.generation = json.at("generation").get<uint64_t>();
  info.pinned = json.at("pinned").get<bool>();
  info.family = json.at("family").get<std::string>();
  info.host_bytes = json.at("host_bytes").get<uint64_t>();
  info.max_rank = json.at("max_rank").get<int>();
  info.experts = json.at("experts").get<int>();
  info.targets = json.at("targets").get<std::vector<std::string>>();
  info.expert_names = json.at("expert_names").get<std::vector<std::string>>();
  info.lenient = json.value("lenient", false);  // older records have neither
  info.warnings = json.value("warnings", std::vector<std::string>());
  for (const Json& component : json.value("pieces", Json::array()))
    info.components.push_back(ComponentFrom(component, info.path));
  if (json.contains("chat")) info.chat = ChatFrom(json.at("chat"));
  if (json.contains("tokens")) info.tokens = TokensFrom(json.at("tokens"));
  return info;
}

AnsweredRequest RequestFrom(const Json& json) {
  return {json.at("id").get<std::string>(), json.at("what").get<std::string>(),
          json.at("name").get<std::string>(), json.at("generation").get<uint64_t>()};
}

absl::StatusOr<JournalRecord> Parse(std::string_view payload) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(payload));
  JournalRecord record;
  try {
    for (const auto& [key, value] : json.items()) {
      if (key == "wanted") {
        record.wanted = InfoFrom(value);
      } else if (key == "removed") {
        record.removed = value.get<std::string>();
      } else if (key == "answered") {
        record.answered = RequestFrom(value);
      } else if (key == "generation") {
        record.generation = value.get<uint64_t>();
      } else {
        return FailedPrecondition("a record holds '{}', which this version does not know", key);
      }
    }
  } catch (const nlohmann::json::exception& error) {
    return DataLoss("a record is not as it was written: {}", error.what());
  }
  return record;
}

// The payload of the record at `at`; nullopt: it is not wholly there.
std::optional<std::string_view> PayloadAt(std::string_view file, size_t at) {
  if (file.size() - at < kFrame) return std::nullopt;
  uint32_t length = 0;
  std::memcpy(&length, file.data() + at, sizeof(length));
  if (length > kMaxPayload || file.size() - at - kFrame < length) return std::nullopt;
  const std::string_view payload = file.substr(at + kFrame, length);
  if (Frame(payload) != file.substr(at, kFrame)) return std::nullopt;
  return payload;
}

// Whether what stands at `at` can be the last record, not wholly written: it claims to reach the end or
// beyond, or there is nothing but the zeros of a file that grew before its data came.
bool IsTornTail(std::string_view file, size_t at) {
  const std::string_view tail = file.substr(at);
  if (tail.size() < kFrame || tail.find_first_not_of('\0') == std::string_view::npos) return true;
  uint32_t length = 0;
  std::memcpy(&length, tail.data(), sizeof(length));
  if (length > kMaxPayload || tail.size() - kFrame > length) return false;
  for (size_t later = at + 1; later < file.size(); ++later) {
    if (PayloadAt(file, later)) return false;  // a length that was damaged, with good records behind it
  }
  return true;
}

}  // namespace

const AnsweredRequest* JournalState::Find(const std::string& id) const {
  const auto found = std::ranges::find(answered, id, &AnsweredRequest::id);
  return found == answered.end() ? nullptr : &*found;
}

std::string EncodeHeader() { return std::string(kHeader); }

std::string EncodeRecord(const JournalRecord& record) {
  Json json = Json::object();
  if (record.wanted) json["wanted"] = ToJson(*record.wanted);
  if (!record.removed.empty()) json["removed"] = record.removed;
  if (record.answered) json["answered"] = ToJson(*record.answered);
  if (record.generation > 0) json["generation"] = record.generation;
  const std::string payload = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return Frame(payload) + payload;
}

void Apply(const JournalRecord& record, JournalState* state) {
  if (record.wanted) {
    state->adapters[record.wanted->name] = *record.wanted;
    state->last_generation = std::max(state->last_generation, record.wanted->generation);
  }
  if (!record.removed.empty()) state->adapters.erase(record.removed);
  state->last_generation = std::max(state->last_generation, record.generation);
  if (!record.answered) return;
  state->answered.push_back(*record.answered);
  if (state->answered.size() > JournalState::kMostAnswered) state->answered.pop_front();
}

absl::StatusOr<JournalState> Replay(std::string_view file, size_t* whole) {
  JournalState state;
  *whole = 0;
  if (kHeader.starts_with(file)) {  // not even that was wholly written, or nothing but that
    *whole = file == kHeader ? file.size() : 0;
    return state;
  }
  if (!file.starts_with(kHeader)) {
    if (file.starts_with(kHeaderOfAny)) return FailedPrecondition("it was written by another version");
    return FailedPrecondition("it is no journal of adapters");
  }
  size_t at = kHeader.size();
  while (at < file.size()) {
    const std::optional<std::string_view> payload = PayloadAt(file, at);
    if (!payload) {
      if (IsTornTail(file, at)) break;
      return DataLoss("it is damaged at byte {} of {}", at, file.size());
    }
    const absl::StatusOr<JournalRecord> record = Parse(*payload);
    if (!record.ok()) return Annotate(record.status(), fmt::format("at byte {}", at));
    Apply(*record, &state);
    at += kFrame + payload->size();
  }
  *whole = at;
  return state;
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(std::unique_ptr<LogDirectory> directory) {
  ASSIGN_OR_RETURN(const std::string file, directory->Read(kFile));
  size_t whole = 0;
  absl::StatusOr<JournalState> state = Replay(file, &whole);
  if (!state.ok()) return Annotate(state.status(), fmt::format("state directory: {}", kFile));
  if (whole == 0) {
    RETURN_IF_ERROR(directory->Replace(kFile, kHeader));
    whole = kHeader.size();
  } else if (whole < file.size()) {
    Log()->warn("{}: the last {} bytes were not wholly written, and count for nothing", kFile,
                file.size() - whole);
    RETURN_IF_ERROR(directory->Truncate(kFile, whole));
  }
  return std::unique_ptr<Journal>(new Journal(std::move(directory), *std::move(state), whole));
}

absl::Status Journal::Append(const JournalRecord& record) {
  const std::string bytes = EncodeRecord(record);
  MutexLock lock(&mu_);
  if (broken_) return Internal("the state directory has failed before; the server must be started anew");
  if (bytes.size() > kMaxPayload) return InvalidArgument("the change is too large to be recorded");
  const absl::Status written = directory_->Append(kFile, bytes);
  if (!written.ok()) {
    // What is there of it may or may not survive; it must not, and the next record must not follow it.
    broken_ = !directory_->Truncate(kFile, size_).ok();
    Log()->error("a change of adapters could not be recorded: {}", std::string(written.message()));
    return Internal("the change could not be recorded");
  }
  size_ += bytes.size();
  hydrad::Apply(record, &state_);
  CompactIfLarge();
  return absl::OkStatus();
}

// A failure costs nothing but the file's length: the old file is as good.
void Journal::CompactIfLarge() {
  if (size_ < std::max(kCompactAt, 2 * compacted_)) return;
  std::string bytes(kHeader);
  for (const auto& [name, info] : state_.adapters) bytes += EncodeRecord({.wanted = info});
  for (const AnsweredRequest& request : state_.answered) bytes += EncodeRecord({.answered = request});
  bytes += EncodeRecord({.generation = state_.last_generation});  // it may be that of an adapter that is gone
  const absl::Status replaced = directory_->Replace(kFile, bytes);
  if (!replaced.ok()) {
    Log()->warn("the journal of adapters could not be rewritten: {}", std::string(replaced.message()));
    // It is the old file or the new one.
    const absl::StatusOr<std::string> file = directory_->Read(kFile);
    broken_ = !file.ok();
    size_ = compacted_ = file.ok() ? file->size() : 0;  // tried again when it has doubled
    return;
  }
  size_ = compacted_ = bytes.size();
}

}  // namespace hydrad
