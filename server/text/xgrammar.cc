#include "server/text/xgrammar.h"

#include <dlfcn.h>

#include <filesystem>
#include <string_view>

#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr std::string_view kPackage = "xgrammar.tvm_ffi_binding.";
// Of the form in which grammars are kept, which changes with what they mean.
constexpr std::string_view kSerialization = "v18";

struct MethodRow {
  FfiFunction Xgrammar::*function;
  std::string_view type, name, signature;
};
constexpr MethodRow kMethods[] = {
    {&Xgrammar::make_tokenizer_info, "TokenizerInfo", "__ffi_init__", "Object(Array,int,Any,Any,bool)"},
    {&Xgrammar::make_compiler, "GrammarCompiler", "__ffi_init__", "Object(Object,int,bool,int,bool)"},
    {&Xgrammar::compile_json_schema, "GrammarCompiler", "compile_json_schema",
     "Object(GrammarCompiler,String,bool,Any,Any,bool,Any,bool)"},
    {&Xgrammar::compile_regex, "GrammarCompiler", "compile_regex", "Object(GrammarCompiler,String)"},
    {&Xgrammar::compile_ebnf, "GrammarCompiler", "compile_grammar_from_strings",
     "Object(GrammarCompiler,String,String)"},
    {&Xgrammar::make_matcher, "GrammarMatcher", "__ffi_init__", "Object(Object,Any,bool,int,optional)"},
    {&Xgrammar::fill_mask, "GrammarMatcher", "fill_next_token_bitmask", "bool(GrammarMatcher,Any,int,bool)"},
    {&Xgrammar::accept_token, "GrammarMatcher", "accept_token", "bool(GrammarMatcher,int,bool)"},
};

absl::Status FindMethods(Xgrammar* out) {
  for (const MethodRow& row : kMethods) {
    ASSIGN_OR_RETURN(out->*row.function, out->ffi->Method(kPackage, row.type, row.name, row.signature));
  }
  ASSIGN_OR_RETURN(out->make_array, out->ffi->Function("ffi.Array"));
  ASSIGN_OR_RETURN(const FfiFunction version,
                   out->ffi->Function("xgrammar.tvm_ffi_binding.config.get_serialization_version"));
  ASSIGN_OR_RETURN(const FfiValue text, version({}));
  if (const std::string is = FfiLibrary::TextOf(text); is != kSerialization) {
    return FailedPrecondition("its grammars are of version '{}': '{}' is needed", is, kSerialization);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Xgrammar>> Xgrammar::Open(const std::string& directory) {
  const std::filesystem::path in(directory);
  const std::string library = in / "libxgrammar_bindings.so";
  std::error_code error;
  if (!std::filesystem::exists(library, error)) return NotFound("there is no '{}'", library);
  auto out = std::make_unique<Xgrammar>();
  ASSIGN_OR_RETURN(out->ffi, FfiLibrary::Open(in / "libtvm_ffi.so"));
  // It finds the other one in the process, by its name.
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) {
    return FailedPrecondition("cannot be opened: {}", dlerror());
  }
  RETURN_IF_ERROR(Annotate(FindMethods(out.get()), "'" + library + "' is another version"));
  return out;
}

}  // namespace hydrad
