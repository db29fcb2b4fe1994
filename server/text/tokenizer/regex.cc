#include "server/text/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/text/tokenizer/regex_syntax.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

PCRE2_SPTR8 Units(std::string_view text) {
  // PCRE2 does not take a null pointer even for an empty text.
  return reinterpret_cast<PCRE2_SPTR8>(text.data() == nullptr ? "" : text.data());
}

}  // namespace

void Regex::FreeCode::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  ASSIGN_OR_RETURN(const std::string translated, TranslateRegex(pattern));
  return CompileTranslated(translated);
}

absl::StatusOr<Regex> Regex::Literal(std::string_view text) { return CompileTranslated(LiteralRegex(text)); }

absl::StatusOr<Regex> Regex::CompileTranslated(std::string_view pattern) {
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Regex regex;
  regex.code_.reset(pcre2_compile(Units(pattern), pattern.size(), PCRE2_UTF, &error, &offset, context.get()));
  if (regex.code_ == nullptr) {
    PCRE2_UCHAR message[256];
    pcre2_get_error_message(error, message, sizeof(message));
    return InvalidArgument("regular expression: {}", reinterpret_cast<const char*>(message));
  }
  // Where the system forbids new machine code the interpreter does the same, slower.
  regex.jit_ = pcre2_jit_compile(regex.code_.get(), PCRE2_JIT_COMPLETE) == 0;
  return regex;
}

void RegexMatcher::FreeMatchData::operator()(pcre2_real_match_data_8* data) const {
  pcre2_match_data_free(data);
}
void RegexMatcher::FreeMatchContext::operator()(pcre2_real_match_context_8* context) const {
  pcre2_match_context_free(context);
}

RegexMatcher::RegexMatcher(const Regex& regex)
    : regex_(regex),
      data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)) {
  constexpr uint32_t kInterpreterMemoryKib = 256 * 1024;
  pcre2_set_heap_limit(context_.get(), kInterpreterMemoryKib);
}

void RegexMatcher::Start(std::string_view text) {
  constexpr size_t kSteps = 10'000'000;
  constexpr size_t kStepsPerByte = 20;
  text_ = text;
  search_from_ = 0;
  last_end_ = SIZE_MAX;
  const size_t steps = std::min<size_t>(kSteps + kStepsPerByte * text.size(), UINT32_MAX);
  pcre2_set_match_limit(context_.get(), static_cast<uint32_t>(steps));
}

int RegexMatcher::MatchAt(size_t start) {
  const pcre2_code* code = regex_.code_.get();
  if (regex_.jit_) {
    const int rc = pcre2_jit_match(code, Units(text_), text_.size(), start, 0, data_.get(), context_.get());
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT) return rc;
  }
  return pcre2_match(code, Units(text_), text_.size(), start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data_.get(),
                     context_.get());
}

bool RegexMatcher::Next(size_t* begin, size_t* end) {
  while (search_from_ <= text_.size()) {
    if (MatchAt(search_from_) < 0) break;
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(data_.get());
    *begin = bounds[0];
    *end = bounds[1];
    if (*begin != *end || *end != last_end_) {
      search_from_ = last_end_ = *end;
      return true;
    }
    search_from_ += search_from_ < text_.size() ? CharLength(text_[search_from_]) : 1;
  }
  search_from_ = text_.size() + 1;
  return false;
}

}  // namespace hydrad
