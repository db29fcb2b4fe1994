// The door to xgrammar's library (Apache-2.0), which makes token masks of grammars: the methods of it that
// are used here, each by the signature that it must have.
#ifndef HYDRAD_SERVER_TEXT_XGRAMMAR_H_
#define HYDRAD_SERVER_TEXT_XGRAMMAR_H_

#include <absl/status/statusor.h>

#include <memory>
#include <string>

#include "server/text/tvm_ffi.h"

namespace hydrad {

// Immutable once opened.
struct Xgrammar {
  // Opens libtvm_ffi.so and libxgrammar_bindings.so in `directory`, where deploy/get-grammar puts them.
  // NOT_FOUND when they are not there; FAILED_PRECONDITION, saying what differs, when they are other versions
  // than those that this code was written for. They stay in the process.
  static absl::StatusOr<std::unique_ptr<const Xgrammar>> Open(const std::string& directory);

  std::unique_ptr<const FfiLibrary> ffi;
  FfiFunction make_array;  // of its arguments
  FfiFunction make_tokenizer_info, make_compiler, make_matcher;
  FfiFunction compile_json_schema, compile_regex, compile_ebnf;
  FfiFunction fill_mask, accept_token;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_XGRAMMAR_H_
