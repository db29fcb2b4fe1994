// Answers compare.py: loads a tokenizer.json and encodes and decodes what comes on standard input, line by
// line.
//   E <hex of the text>  ->  ids for (add_special, parse_special) = 00;01;10;11
//   D <ids>              ->  hex of the text with and without special tokens
// Decoding is done whole and as a stream; if the two differ the program aborts.
#include <fmt/format.h>

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "server/model/tokenizer.h"
#include "server/model/tokenizer/utf8.h"

namespace hydrad {
namespace {

std::string FromHex(std::string_view hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::strtol(std::string(hex.substr(i, 2)).c_str(), nullptr, 16)));
  }
  return out;
}

std::string ToHex(std::string_view text) {
  std::string out;
  for (unsigned char c : text) out += fmt::format("{:02x}", c);
  return out;
}

std::string Decode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  const std::string whole = tokenizer.Decode(ids, skip_special);
  Detokenizer stream(tokenizer, skip_special);
  std::string joined;
  for (int32_t id : ids) {
    const std::string piece = stream.Add(id);
    HYDRAD_CHECK(IsUtf8(piece));
    joined += piece;
  }
  HYDRAD_CHECK(whole.starts_with(joined));
  HYDRAD_CHECK(joined + stream.Finish() == whole);
  return whole;
}

void AnswerEncode(const Tokenizer& tokenizer, std::istream& in) {
  std::string hex;
  in >> hex;
  const std::string text = FromHex(hex);
  for (int flags = 0; flags < 4; ++flags) {
    const auto ids = tokenizer.Encode(text, (flags & 2) != 0, (flags & 1) != 0);
    std::cout << (flags > 0 ? ";" : "") << fmt::format("{}", fmt::join(ids, " "));
  }
}

void AnswerDecode(const Tokenizer& tokenizer, std::istream& in) {
  std::vector<int32_t> ids;
  for (int32_t id; in >> id;) ids.push_back(id);
  std::cout << ToHex(Decode(tokenizer, ids, false)) << ";" << ToHex(Decode(tokenizer, ids, true));
}

int Run(const char* path) {
  const auto tokenizer = Tokenizer::Load(path);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line.substr(1));
    line[0] == 'E' ? AnswerEncode(**tokenizer, in) : AnswerDecode(**tokenizer, in);
    std::cout << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace hydrad

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: tokenizer_driver tokenizer.json < requests\n";
    return 2;
  }
  return hydrad::Run(argv[1]);
}
