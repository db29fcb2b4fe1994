#include "server/text/grammar.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "server/base/check.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// What is between the parts of a JSON text is white space of at most so many characters: a small model
// may otherwise write nothing else to the end.
constexpr int kMaxWhitespace = 16;

// A text in quotes, as a rule of a grammar has it.
std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      quoted += fmt::format("\\u{:04x}", byte);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string ChoiceRule(const std::vector<std::string>& choices) {
  std::string rule = "root ::= ";
  for (size_t i = 0; i < choices.size(); ++i) rule += (i > 0 ? " | " : "") + Quoted(choices[i]);
  return rule;
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrammarCompiler>> GrammarCompiler::Open(const std::string& directory,
                                                                       Vocabulary vocabulary) {
  ASSIGN_OR_RETURN(std::unique_ptr<const Xgrammar> library, Xgrammar::Open(directory));
  std::unique_ptr<GrammarCompiler> compiler(new GrammarCompiler(std::move(library), std::move(vocabulary)));
  RETURN_IF_ERROR(compiler->MakeCompiler());
  return compiler;
}

absl::Status GrammarCompiler::MakeCompiler() {
  std::vector<FfiValue> tokens;
  std::vector<FfiAny> views;
  for (const std::string& bytes : vocabulary_.tokens) {
    ASSIGN_OR_RETURN(FfiValue token, library_->ffi->Bytes(bytes));
    views.push_back(token.view());
    tokens.push_back(std::move(token));
  }
  ASSIGN_OR_RETURN(const FfiValue vocabulary, library_->make_array(views));
  views.clear();
  for (const int32_t id : vocabulary_.end_tokens) views.push_back(FfiAny::Int(id));
  ASSIGN_OR_RETURN(const FfiValue end_tokens, library_->make_array(views));
  const FfiAny raw_bytes = FfiAny::Int(0), size = FfiAny::Int(vocabulary_.size()),
               prefix_space = FfiAny::Bool(false);
  ASSIGN_OR_RETURN(const FfiValue info,
                   library_->make_tokenizer_info(
                       std::array{vocabulary.view(), raw_bytes, size, end_tokens.view(), prefix_space}));
  const FfiAny threads = FfiAny::Int(1), caches = FfiAny::Bool(false), cache_bytes = FfiAny::Int(-1),
               lazily = FfiAny::Bool(false);
  ASSIGN_OR_RETURN(compiler_,
                   library_->make_compiler(std::array{info.view(), threads, caches, cache_bytes, lazily}));
  return absl::OkStatus();
}

absl::StatusOr<FfiValue> GrammarCompiler::Compile(const AnswerForm& form) const {
  const FfiLibrary& ffi = *library_->ffi;
  switch (form.kind) {
    case AnswerForm::Kind::kJsonObject:
      return CompileSchema(R"({"type": "object"})", /*strict=*/false);
    case AnswerForm::Kind::kJsonSchema:
      return CompileSchema(form.text, /*strict=*/true);
    case AnswerForm::Kind::kRegex: {
      ASSIGN_OR_RETURN(const FfiValue text, ffi.Text(form.text));
      return library_->compile_regex(std::array{compiler_.view(), text.view()});
    }
    case AnswerForm::Kind::kChoice:
    case AnswerForm::Kind::kEbnf: {
      const bool choice = form.kind == AnswerForm::Kind::kChoice;
      ASSIGN_OR_RETURN(const FfiValue text, ffi.Text(choice ? ChoiceRule(form.choices) : form.text));
      ASSIGN_OR_RETURN(const FfiValue root, ffi.Text("root"));
      return library_->compile_ebnf(std::array{compiler_.view(), text.view(), root.view()});
    }
  }
  return InvalidArgument("is of no kind that is known");
}

absl::StatusOr<FfiValue> GrammarCompiler::CompileSchema(std::string_view schema, bool strict) const {
  ASSIGN_OR_RETURN(const FfiValue text, library_->ffi->Text(schema));
  const FfiAny any_whitespace = FfiAny::Bool(true), indent = FfiAny::None(), separators = FfiAny::None(),
               any_order = FfiAny::Bool(false);
  return library_->compile_json_schema(std::array{compiler_.view(), text.view(), any_whitespace, indent,
                                                  separators, FfiAny::Bool(strict),
                                                  FfiAny::Int(kMaxWhitespace), any_order});
}

absl::StatusOr<GrammarMatcher> GrammarCompiler::Start(const FfiValue& compiled) const {
  const FfiAny other_end_tokens = FfiAny::None(), end_without_token = FfiAny::Bool(false),
               rollback = FfiAny::Int(-1), temperature = FfiAny::None();
  ASSIGN_OR_RETURN(FfiValue matcher,
                   library_->make_matcher(std::array{compiled.view(), other_end_tokens, end_without_token,
                                                     rollback, temperature}));
  return GrammarMatcher(*library_, vocabulary_, std::move(matcher));
}

absl::Status GrammarMatcher::FillMask(std::span<uint32_t> mask, bool json) {
  HYDRAD_CHECK(!terminated_);
  int64_t shape = static_cast<int64_t>(mask.size()), stride = 1;
  FfiTensor tensor{.data = mask.data(), .dimensions = 1, .shape = &shape, .strides = &stride};
  const FfiAny row = FfiAny::Int(0), debug = FfiAny::Bool(false);
  RETURN_IF_ERROR(library_->fill_mask(std::array{matcher_.view(), tensor.View(), row, debug}).status());
  if (const int beyond = vocabulary_->size() % 32; beyond > 0) mask.back() &= (uint32_t{1} << beyond) - 1;
  for (size_t i = 0; json && i < vocabulary_->control.size(); ++i) {
    const auto token = static_cast<size_t>(vocabulary_->control[i]);
    mask[token / 32] &= ~(uint32_t{1} << (token % 32));
  }
  if (std::ranges::any_of(mask, [](uint32_t word) { return word != 0; })) return absl::OkStatus();
  return InvalidArgument("it leaves no token that may come next");
}

absl::Status GrammarMatcher::Accept(int32_t token) {
  const FfiAny debug = FfiAny::Bool(false);
  ASSIGN_OR_RETURN(const FfiValue accepted,
                   library_->accept_token(std::array{matcher_.view(), FfiAny::Int(token), debug}));
  if (accepted.integer() == 0) return Internal("token {} is not what it allows", token);
  terminated_ = std::ranges::find(vocabulary_->end_tokens, token) != vocabulary_->end_tokens.end();
  return absl::OkStatus();
}

}  // namespace hydrad
