// Small tokenizer.json files for the tests, made in memory.
#ifndef HYDRAD_TESTS_TEXT_FIXTURE_H_
#define HYDRAD_TESTS_TEXT_FIXTURE_H_

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/tokenizer.h"
#include "server/text/tokenizer/json_node.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {

using Merges = std::vector<std::pair<std::string, std::string>>;

// A BPE model whose vocabulary is `start`, numbered in order, then what the merges make.
inline nlohmann::json BpeJson(const std::vector<std::string>& start, const Merges& merges) {
  nlohmann::json vocab = nlohmann::json::object();
  for (const std::string& token : start) vocab.emplace(token, vocab.size());
  for (const auto& [left, right] : merges) vocab.emplace(left + right, vocab.size());
  return {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}};
}

// The characters that stand for the 256 bytes, in the order of the bytes.
inline std::vector<std::string> ByteTokens() {
  std::vector<std::string> tokens(256);
  for (int b = 0; b < 256; ++b) AppendUtf8(ByteToChar(static_cast<uint8_t>(b)), &tokens[b]);
  return tokens;
}

// Byte-level, GPT-2 style: ids 0 to 255 are the bytes, then the merges.
inline nlohmann::json ByteLevelFile(const Merges& merges) {
  return {{"version", "1.0"},
          {"added_tokens", nlohmann::json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", BpeJson(ByteTokens(), merges)}};
}

// SentencePiece style, as Llama 2: <unk> <s> </s>, 256 byte tokens from id 3, then `letters` and the merges.
inline nlohmann::json SentencePieceFile(const std::vector<std::string>& letters, const Merges& merges) {
  std::vector<std::string> start = {"<unk>", "<s>", "</s>"};
  for (int b = 0; b < 256; ++b) start.push_back(fmt::format("<0x{:02X}>", b));
  start.insert(start.end(), letters.begin(), letters.end());
  nlohmann::json model = BpeJson(start, merges);
  model["unk_token"] = "<unk>";
  model["fuse_unk"] = true;
  model["byte_fallback"] = true;
  nlohmann::json file = nlohmann::json::parse(R"({
    "added_tokens": [
      {"id": 0, "content": "<unk>", "special": true, "normalized": false},
      {"id": 1, "content": "<s>", "special": true, "normalized": false},
      {"id": 2, "content": "</s>", "special": true, "normalized": false}],
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}})");
  file["model"] = model;
  return file;
}

inline std::unique_ptr<const Tokenizer> LoadOrDie(const nlohmann::json& file) {
  auto tokenizer = Tokenizer::FromJson(file.dump());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// The text of the error that the file gives, or "" if it loads.
inline std::string LoadError(const nlohmann::json& file) {
  return std::string(Tokenizer::FromJson(file.dump()).status().message());
}

// The text of a status, for comparing.
inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace hydrad

#endif  // HYDRAD_TESTS_TEXT_FIXTURE_H_
