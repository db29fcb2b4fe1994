// PTX text as a sequence of tokens. The views point into the text, which must outlive them.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace ptxsim {

struct Token {
  std::string_view text;
  int line;
};

// Identifiers keep their dots ("ld.global.u32" and ".reg" are one token), strings keep their quotes, every
// other character stands alone; comments vanish.
std::vector<Token> Lex(std::string_view text);

// What the parser throws; caught where a kernel is built, never seen outside of the interpreter.
struct PtxError : std::runtime_error {
  PtxError(int line, const std::string& what)
      : std::runtime_error("PTX line " + std::to_string(line) + ": " + what) {}
};

}  // namespace ptxsim
