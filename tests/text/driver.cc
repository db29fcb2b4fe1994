// Answers compare.py: loads a tokenizer.json and encodes and decodes what comes on standard input, line by
// line.
//   E <hex of the text>  ->  ids for (add_special, parse_special) = 00;01;10;11
//   D <ids>              ->  hex of the text with and without special tokens
//   S <skip_special> <count> <ids>  ->  with the first `count` ids as a prompt, hex of the prompt's text to
//   echo, of
//                                       what each id after it adds, and of what the end adds;
//                                       then the same of the text without an echo, all joined
#include <fmt/format.h>

#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "server/base/check.h"
#include "server/text/tokenizer.h"
#include "server/text/tokenizer/utf8.h"

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
  std::cout << ToHex(tokenizer.Decode(ids, false)) << ";" << ToHex(tokenizer.Decode(ids, true));
}

void AnswerStream(const Tokenizer& tokenizer, std::istream& in) {
  bool skip_special = false;
  size_t count = 0;
  in >> skip_special >> count;
  std::vector<int32_t> ids;
  for (int32_t id; in >> id;) ids.push_back(id);
  const std::span<const int32_t> all = ids;
  std::string echo, joined;
  Detokenizer stream(tokenizer, skip_special, all.first(count), &echo);
  Detokenizer without(tokenizer, skip_special, all.first(count));
  std::cout << ToHex(echo);
  for (int32_t id : all.subspan(count)) {
    const std::string piece = stream.Add(id);
    HYDRAD_CHECK(IsUtf8(piece));
    std::cout << "," << ToHex(piece);
    joined += without.Add(id);
  }
  std::cout << "," << ToHex(stream.Finish()) << ";" << ToHex(joined + without.Finish());
}

int Run(const char* path) {
  const auto tokenizer = Tokenizer::Load(path);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return 1;
  }
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream in(line.substr(1));
    const auto answer = line[0] == 'E' ? AnswerEncode : line[0] == 'D' ? AnswerDecode : AnswerStream;
    answer(**tokenizer, in);
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
