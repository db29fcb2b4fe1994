// The decoding steps that make text of bytes.
#include <string_view>
#include <utility>

#include "server/text/tokenizer/decode_stages.h"
#include "server/text/tokenizer/decode_steps.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

class ByteLevelStage final : public Cloneable<ByteLevelStage, TokenStage> {
 public:
  void Finish() override {
    text_.clear();
    repairer_.Finish(&text_);
    next()->Add(text_, true);
    next()->Finish();
  }
  bool holding() const override { return TokenStage::holding() || repairer_.holding(); }

 private:
  void AddToken(std::string_view token) override {
    bytes_.clear();
    if (!CharsToBytes(token, &bytes_)) bytes_ = token;
    text_.clear();
    repairer_.Add(bytes_, &text_);
    next()->Add(text_, false);
  }

  Utf8Repairer repairer_;
  std::string bytes_, text_;
};

// The byte of a token <0xHH>, or -1. Rust's number parser, the model here, also takes a plus sign.
int FallbackByte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  int value = 0;
  for (size_t i = token[3] == '+' ? 4 : 3; i < 5; ++i) {
    const char c = token[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

// A run that is UTF-8 is handed on as one token, of which each character is a fragment; of any other run each
// byte is a token.
class ByteFallbackStage final : public Cloneable<ByteFallbackStage, TokenStage> {
 public:
  void Finish() override {
    EndRun();
    next()->Finish();
  }
  void StartStreaming() override {
    streaming_ = true;
    HandOnCharacters();
    next()->StartStreaming();
  }
  bool holding() const override { return TokenStage::holding() || !run_.empty(); }

 private:
  void AddToken(std::string_view token) override {
    const int byte = FallbackByte(token);
    if (byte < 0) {
      EndRun();
      next()->Add(token, true);
      return;
    }
    run_.push_back(static_cast<char>(byte));
    if (streaming_) HandOnCharacters();
  }

  // Leaves in run_ only the beginning of a character.
  void HandOnCharacters() {
    const Utf8Prefix whole = WholeCharacters(run_);
    if (spoilt_ || !whole.open) return Spoil();
    if (whole.length == 0) return;
    next()->Add(std::string_view(run_).substr(0, whole.length), false);
    run_.erase(0, whole.length);
    token_open_ = true;
  }
  // What is left of the run is not text.
  void Spoil() {
    if (std::exchange(token_open_, false)) next()->Add("", true);
    for (size_t i = std::exchange(run_, {}).size(); i > 0; --i) next()->Add(kReplacement, true);
    spoilt_ = true;
  }
  void EndRun() {
    if (!IsUtf8(run_)) Spoil();
    if (token_open_ || !run_.empty()) next()->Add(std::exchange(run_, {}), true);
    token_open_ = spoilt_ = false;
  }

  bool streaming_ = false;
  std::string run_;          // bytes of the run that have not been handed on
  bool token_open_ = false;  // characters of the run have been handed on
  bool spoilt_ = false;      // the run is known not to be UTF-8
};

}  // namespace

std::unique_ptr<const DecoderStep> ByteLevelDecoder() {
  return std::make_unique<SimpleStep>(MakeStage<ByteLevelStage>, [](const std::string& token) {
    std::string bytes;
    return IsUtf8(token) && CharsToBytes(token, &bytes) ? bytes : token;
  });
}

std::unique_ptr<const DecoderStep> ByteFallbackDecoder() {
  return std::make_unique<SimpleStep>(MakeStage<ByteFallbackStage>, [](const std::string& token) {
    const int byte = FallbackByte(token);
    return byte >= 0 ? std::string(1, static_cast<char>(byte)) : token;
  });
}

}  // namespace hydrad
