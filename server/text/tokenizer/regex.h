// Regular expressions of the `tokenizers` package: Oniguruma's meaning, PCRE2's machine.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_H_

#include <absl/status/statusor.h>

#include <cstddef>
#include <memory>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;

namespace hydrad {

// A compiled pattern. Immutable, so any thread may use it.
class Regex {
 public:
  // Errors: INVALID_ARGUMENT that says where the pattern is broken, or which construct is not supported.
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  // Matches exactly `text`, or the empty string everywhere.
  static absl::StatusOr<Regex> Literal(std::string_view text);

 private:
  friend class RegexMatcher;
  struct FreeCode {
    void operator()(pcre2_real_code_8* code) const;
  };
  static absl::StatusOr<Regex> CompileTranslated(std::string_view pattern);

  std::unique_ptr<pcre2_real_code_8, FreeCode> code_;
  bool jit_ = false;
};

// Runs a Regex over one text after another; holds the working memory. One thread at a time.
class RegexMatcher {
 public:
  // REQUIRES: `regex` outlives this.
  explicit RegexMatcher(const Regex& regex);

  // Starts on a text, which must be UTF-8 and outlive the calls of Next.
  void Start(std::string_view text);

  // The next match, leftmost first and never overlapping. An empty match directly behind the previous one
  // does not count. False when there are no more, or when the pattern needs more steps than are granted to it
  // (a bound far above what any pattern needs that does not backtrack exponentially): the rest is then
  // unmatched.
  bool Next(size_t* begin, size_t* end);

 private:
  struct FreeMatchData {
    void operator()(pcre2_real_match_data_8* data) const;
  };
  struct FreeMatchContext {
    void operator()(pcre2_real_match_context_8* context) const;
  };
  int MatchAt(size_t start);

  const Regex& regex_;
  std::unique_ptr<pcre2_real_match_data_8, FreeMatchData> data_;
  std::unique_ptr<pcre2_real_match_context_8, FreeMatchContext> context_;
  std::string_view text_;
  size_t search_from_ = 0;
  size_t last_end_ = SIZE_MAX;  // of the previous match; SIZE_MAX before the first
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_REGEX_H_
