// The file that remembers over a restart which adapters are wanted: append-only, of checksummed records.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_JOURNAL_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_JOURNAL_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/adapters/info.h"
#include "server/adapters/store/log_directory.h"
#include "server/base/mutex.h"

namespace hydrad {

// A change that was made under a client's request id. The same request again is not made twice.
struct AnsweredRequest {
  std::string id, what;  // what: the change in words; another one under the same id is a mistake
  std::string name;      // the adapter; "" for a whole set
  uint64_t generation = 0;
};

// The sum of the records.
struct JournalState {
  // Wanted adapters by name. Of the info: name, path, digest, generation, pinned, family, host_bytes,
  // max_rank, experts, targets, expert_names, lenient, warnings, chat, tokens, components (without
  // device_bytes).
  std::map<std::string, AdapterInfo> adapters;
  std::deque<AnsweredRequest> answered;  // oldest first, at most kMostAnswered
  uint64_t last_generation = 0;          // the highest ever given

  static constexpr size_t kMostAnswered = 1024;
  const AnsweredRequest* Find(const std::string& id) const;  // null if it was not answered, or long ago
};

// One change. Each is wholly there after a restart or not at all.
struct JournalRecord {
  std::optional<AdapterInfo> wanted{};  // from now on
  std::string removed{};                // "": none
  std::optional<AnsweredRequest> answered{};
  uint64_t generation = 0;  // numbers up to it have been given
};

// The file: a line with the version, then records of
//   uint32 length, 8 bytes of SHA-256 of length and payload, payload (JSON)
std::string EncodeHeader();
std::string EncodeRecord(const JournalRecord& record);
void Apply(const JournalRecord& record, JournalState* state);
// Adds up the records of a file. `*whole` becomes the place where the last whole record ends: what follows
// was being written when the process or the machine stopped, and counts for nothing. FAILED_PRECONDITION for
// a file of another version; DATA_LOSS, with the place, for one that was damaged before its end.
absl::StatusOr<JournalState> Replay(std::string_view file, size_t* whole);

// Keeps the file up, and rewrites it when it is mostly history. Thread-safe; waits for the disk.
class Journal {
 public:
  static constexpr char kFile[] = "adapters.journal";

  // Reads what is there, and cuts off what was not wholly written. Errors as Replay's and the directory's.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(std::unique_ptr<LogDirectory> directory);

  // The sum of the records that were there when it was opened.
  const JournalState& opened() const { return opened_; }

  // Writes `record`, which is durable when this answers OK. On INTERNAL nothing has been written; where even
  // that cannot be made sure of, no further record is taken.
  absl::Status Append(const JournalRecord& record);

 private:
  Journal(std::unique_ptr<LogDirectory> directory, JournalState state, size_t size)
      : opened_(state), directory_(std::move(directory)), state_(std::move(state)), size_(size) {}
  void CompactIfLarge() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const JournalState opened_;
  Mutex mu_;
  const std::unique_ptr<LogDirectory> directory_ ABSL_PT_GUARDED_BY(mu_);
  JournalState state_ ABSL_GUARDED_BY(mu_);
  uint64_t size_ ABSL_GUARDED_BY(mu_);           // of the file's whole records
  uint64_t compacted_ ABSL_GUARDED_BY(mu_) = 0;  // its size after the last rewriting
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_JOURNAL_H_
