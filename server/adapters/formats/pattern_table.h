// PEFT's regular expressions over module paths: target_modules and the like, and rank_pattern and
// alpha_pattern, of which each has a number. Patterns come from strangers: their number, length and the work
// that one match may cost are bounded.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_PATTERN_TABLE_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_PATTERN_TABLE_H_

#include <absl/status/statusor.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// PCRE2's own type, so that its header stays in the .cc.
struct pcre2_real_code_8;

namespace hydrad {

// One expression. Immutable; any thread may match.
class PathPattern {
 public:
  // INVALID_ARGUMENT for what is not a regular expression and for more than 1000 bytes.
  static absl::StatusOr<PathPattern> Compile(const std::string& pattern);

  // re.fullmatch(pattern, path). INVALID_ARGUMENT when it costs too much.
  absl::StatusOr<bool> Matches(std::string_view path) const;

 private:
  std::string pattern_;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

// Immutable after Compile; any thread may look up. As in PEFT, the first entry in the order of the file
// counts whose pattern P gives re.match(r"(.*\.)?(P)$", path).
class PatternTable {
 public:
  PatternTable() = default;

  // INVALID_ARGUMENT for a pattern that is not a regular expression, for one longer than 1000 bytes and for
  // more than 4096 of them.
  static absl::StatusOr<PatternTable> Compile(const std::vector<std::pair<std::string, double>>& entries);

  bool empty() const { return entries_.empty(); }
  // The number for the module `path` ("model.layers.0.self_attn.q_proj"). INVALID_ARGUMENT when a match costs
  // too much.
  absl::StatusOr<std::optional<double>> Find(std::string_view path) const;

 private:
  struct Entry {
    std::string pattern;
    std::shared_ptr<const pcre2_real_code_8> code;
    double value;
  };
  std::vector<Entry> entries_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_PATTERN_TABLE_H_
