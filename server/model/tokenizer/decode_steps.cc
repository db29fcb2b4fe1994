#include "server/model/tokenizer/decode_steps.h"

#include <functional>
#include <utility>

#include "server/model/tokenizer/utf8.h"

namespace hydrad {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// A step that needs only a way to make its stage and a way to treat a lone token.
class SimpleStep final : public DecoderStep {
 public:
  using Maker = std::function<std::unique_ptr<DecodeStage>()>;
  using Rewriter = std::function<std::string(std::string)>;
  SimpleStep(Maker make, Rewriter rewrite) : make_(std::move(make)), rewrite_(std::move(rewrite)) {}

  std::unique_ptr<DecodeStage> Start() const override { return make_(); }
  std::string TokenBytes(std::string bytes) const override { return rewrite_(std::move(bytes)); }

 private:
  const Maker make_;
  const Rewriter rewrite_;
};

std::string Same(std::string bytes) { return bytes; }

template <class Stage>
std::unique_ptr<DecodeStage> Make() {
  return std::make_unique<Stage>();
}

// A stage that looks at whole tokens.
class TokenStage : public DecodeStage {
 public:
  void Add(std::string_view fragment, bool ends_token) final {
    if (ends_token && partial_.empty()) return AddToken(fragment);
    partial_.append(fragment);
    if (ends_token) AddToken(std::exchange(partial_, {}));
  }

 private:
  virtual void AddToken(std::string_view token) = 0;
  std::string partial_;
};

class ByteLevelStage final : public TokenStage {
  void AddToken(std::string_view token) override {
    bytes_.clear();
    if (!CharsToBytes(token, &bytes_)) bytes_ = token;
    text_.clear();
    repairer_.Add(bytes_, &text_);
    next()->Add(text_, false);
  }
  void Finish() override {
    text_.clear();
    repairer_.Finish(&text_);
    next()->Add(text_, true);
    next()->Finish();
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

class ByteFallbackStage final : public TokenStage {
  void AddToken(std::string_view token) override {
    const int byte = FallbackByte(token);
    if (byte >= 0) {
      run_.push_back(static_cast<char>(byte));
      return;
    }
    EndRun();
    next()->Add(token, true);
  }
  void Finish() override {
    EndRun();
    next()->Finish();
  }
  void EndRun() {
    const std::string run = std::exchange(run_, {});
    if (run.empty()) return;
    if (IsUtf8(run)) return next()->Add(run, true);
    for (size_t i = 0; i < run.size(); ++i) next()->Add(kReplacement, true);
  }

  std::string run_;
};

class FuseStage final : public DecodeStage {
 public:
  void Add(std::string_view fragment, bool) override { next()->Add(fragment, false); }
  void Finish() override {
    next()->Add("", true);
    next()->Finish();
  }
};

class StripStage final : public DecodeStage {
 public:
  StripStage(std::string_view content, uint32_t start, uint32_t stop)
      : content_(content), start_(start), stop_(stop), start_left_(start) {}

  void Add(std::string_view fragment, bool ends_token) override {
    std::string kept;
    for (size_t pos = 0; pos < fragment.size();) {
      const std::string_view c = fragment.substr(pos, CharLength(fragment[pos]));
      pos += c.size();
      AddChar(c, &kept);
    }
    if (ends_token) {  // what is still held is the end of the token
      held_ = 0;
      start_left_ = start_;
    }
    next()->Add(kept, ends_token);
  }
  void Finish() override { next()->Finish(); }

 private:
  void AddChar(std::string_view c, std::string* kept) {
    if (c == content_) {
      if (start_left_ > 0) {
        --start_left_;
      } else if (held_ < stop_) {
        ++held_;
      } else {
        kept->append(c);  // as good as the oldest of those held
      }
      return;
    }
    start_left_ = 0;
    for (; held_ > 0; --held_) kept->append(content_);
    kept->append(c);
  }

  const std::string_view content_;  // one character, of the step
  const uint32_t start_, stop_;
  uint32_t start_left_;  // characters that may still be cut from the front of this token
  uint32_t held_ = 0;    // characters `content_` that are cut if the token ends here
};

class StripStep final : public DecoderStep {
 public:
  StripStep(std::string content, uint32_t start, uint32_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  std::unique_ptr<DecodeStage> Start() const override {
    return std::make_unique<StripStage>(content_, start_, stop_);
  }
  std::string TokenBytes(std::string bytes) const override { return bytes; }

 private:
  const std::string content_;
  const uint32_t start_, stop_;
};

class ReplaceStage final : public TokenStage {
 public:
  ReplaceStage(const Regex& regex, std::string_view content) : matcher_(regex), content_(content) {}

 private:
  void AddToken(std::string_view token) override {
    // The package matches nothing in an empty token, not even an empty pattern.
    next()->Add(token.empty() ? std::string() : ReplaceMatches(&matcher_, token, content_), true);
  }
  void Finish() override { next()->Finish(); }

  RegexMatcher matcher_;
  const std::string_view content_;
};

class ReplaceStep final : public DecoderStep {
 public:
  ReplaceStep(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  std::unique_ptr<DecodeStage> Start() const override {
    return std::make_unique<ReplaceStage>(pattern_.regex, content_);
  }
  std::string TokenBytes(std::string bytes) const override {
    if (bytes.empty() || !IsUtf8(bytes)) return bytes;
    RegexMatcher matcher(pattern_.regex);
    return ReplaceMatches(&matcher, bytes, content_);
  }

 private:
  const Pattern pattern_;
  const std::string content_;
};

// `text` with every character `from` replaced by `to`.
std::string ReplaceChar(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const std::string_view c = text.substr(pos, CharLength(text[pos]));
    pos += c.size();
    out.append(c == from ? to : c);
  }
  return out;
}

class MetaspaceStage final : public DecodeStage {
 public:
  MetaspaceStage(std::string_view replacement, bool drop_first)
      : replacement_(replacement), drop_(drop_first) {}
  void Add(std::string_view fragment, bool ends_token) override {
    next()->Add(ReplaceChar(fragment, replacement_, drop_ ? "" : " "), ends_token);
    if (ends_token) drop_ = false;
  }
  void Finish() override { next()->Finish(); }

 private:
  const std::string_view replacement_;  // of the step
  bool drop_;
};

class MetaspaceStep final : public DecoderStep {
 public:
  MetaspaceStep(std::string replacement, bool drop_first)
      : replacement_(std::move(replacement)), drop_first_(drop_first) {}
  std::unique_ptr<DecodeStage> Start() const override {
    return std::make_unique<MetaspaceStage>(replacement_, drop_first_);
  }
  std::string TokenBytes(std::string bytes) const override {
    return IsUtf8(bytes) ? ReplaceChar(bytes, replacement_, " ") : bytes;
  }

 private:
  const std::string replacement_;
  const bool drop_first_;
};

class SpaceJoinStage final : public DecodeStage {
 public:
  void Add(std::string_view fragment, bool ends_token) override {
    if (std::exchange(owes_space_, ends_token)) next()->Add(" ", false);
    next()->Add(fragment, false);
  }
  void Finish() override {
    next()->Add("", true);
    next()->Finish();
  }

 private:
  bool owes_space_ = false;
};

}  // namespace

std::unique_ptr<const DecoderStep> ByteLevelDecoder() {
  return std::make_unique<SimpleStep>(Make<ByteLevelStage>, [](const std::string& token) {
    std::string bytes;
    return IsUtf8(token) && CharsToBytes(token, &bytes) ? bytes : token;
  });
}

std::unique_ptr<const DecoderStep> ByteFallbackDecoder() {
  return std::make_unique<SimpleStep>(Make<ByteFallbackStage>, [](const std::string& token) {
    const int byte = FallbackByte(token);
    return byte >= 0 ? std::string(1, static_cast<char>(byte)) : token;
  });
}

std::unique_ptr<const DecoderStep> FuseDecoder() {
  return std::make_unique<SimpleStep>(Make<FuseStage>, Same);
}

std::unique_ptr<const DecoderStep> StripDecoder(std::string content, uint32_t start, uint32_t stop) {
  return std::make_unique<StripStep>(std::move(content), start, stop);
}

std::unique_ptr<const DecoderStep> ReplaceDecoder(Pattern pattern, std::string content) {
  return std::make_unique<ReplaceStep>(std::move(pattern), std::move(content));
}

std::unique_ptr<const DecoderStep> MetaspaceDecoder(std::string replacement, bool drop_first) {
  return std::make_unique<MetaspaceStep>(std::move(replacement), drop_first);
}

std::unique_ptr<const DecoderStep> SpaceJoinDecoder() {
  return std::make_unique<SimpleStep>(Make<SpaceJoinStage>, Same);
}

}  // namespace hydrad
