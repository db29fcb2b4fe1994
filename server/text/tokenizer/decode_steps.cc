#include "server/text/tokenizer/decode_steps.h"

#include <utility>
#include <vector>

#include "server/text/tokenizer/decode_stages.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

std::string Same(std::string bytes) { return bytes; }

class FuseStage final : public Cloneable<FuseStage> {
 public:
  void Add(std::string_view fragment, bool) override { next()->Add(fragment, false); }
  void Finish() override {
    next()->Add("", true);
    next()->Finish();
  }
};

class StripStage final : public Cloneable<StripStage> {
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
  bool holding() const override { return held_ > 0; }

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

// A text to look for in a stream. Linear in the stream, whatever the text (Knuth, Morris and Pratt).
struct Needle {
  explicit Needle(std::string needle) : text(std::move(needle)), border(text.size() + 1, 0) {
    for (size_t i = 1, length = 0; i < text.size(); ++i) {
      while (length > 0 && text[i] != text[length]) length = border[length];
      if (text[i] == text[length]) ++length;
      border[i + 1] = length;
    }
  }

  const std::string text;
  // By length of a beginning of the text: of the longest shorter beginning with which that ends.
  std::vector<size_t> border;
};

// Of a text; never holds back more than what may be the beginning of a match.
class ReplaceTextStage final : public Cloneable<ReplaceTextStage> {
 public:
  ReplaceTextStage(const Needle& needle, std::string_view content) : needle_(needle), content_(content) {}

  void Add(std::string_view fragment, bool ends_token) override {
    std::string out;
    for (const char c : fragment) AddByte(c, &out);
    if (ends_token) out.append(needle_.text, 0, std::exchange(held_, 0));
    next()->Add(out, ends_token);
  }
  void Finish() override { next()->Finish(); }
  bool holding() const override { return held_ > 0; }

 private:
  void AddByte(char c, std::string* out) {
    while (held_ > 0 && needle_.text[held_] != c) {
      const size_t kept = needle_.border[held_];
      out->append(needle_.text, 0, held_ - kept);
      held_ = kept;
    }
    if (needle_.text[held_] != c) {
      out->push_back(c);
    } else if (++held_ == needle_.text.size()) {
      out->append(content_);
      held_ = 0;
    }
  }

  const Needle& needle_;  // both of the step
  const std::string_view content_;
  size_t held_ = 0;  // bytes of the needle with which the text so far ends
};

// Of an expression, which may look anywhere in a token.
class ReplaceRegexStage final : public TokenStage {
 public:
  ReplaceRegexStage(const Regex& regex, std::string_view content)
      : regex_(regex), content_(content), matcher_(regex) {}
  ReplaceRegexStage(const ReplaceRegexStage& other)
      : TokenStage(other), regex_(other.regex_), content_(other.content_), matcher_(other.regex_) {}

  void Finish() override { next()->Finish(); }
  std::unique_ptr<DecodeStage> Clone() const override { return std::make_unique<ReplaceRegexStage>(*this); }

 private:
  void AddToken(std::string_view token) override {
    // The package matches nothing in an empty token, not even an empty pattern.
    next()->Add(token.empty() ? std::string() : ReplaceMatches(&matcher_, token, content_), true);
  }

  const Regex& regex_;  // both of the step
  const std::string_view content_;
  RegexMatcher matcher_;
};

class ReplaceStep final : public DecoderStep {
 public:
  ReplaceStep(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), needle_(pattern_.literal), content_(std::move(content)) {}
  std::unique_ptr<DecodeStage> Start() const override {
    if (pattern_.literal.empty()) return std::make_unique<ReplaceRegexStage>(pattern_.regex, content_);
    return std::make_unique<ReplaceTextStage>(needle_, content_);
  }
  std::string TokenBytes(std::string bytes) const override {
    if (bytes.empty() || !IsUtf8(bytes)) return bytes;
    RegexMatcher matcher(pattern_.regex);
    return ReplaceMatches(&matcher, bytes, content_);
  }

 private:
  const Pattern pattern_;
  const Needle needle_;  // unless the pattern is an expression
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

class MetaspaceStage final : public Cloneable<MetaspaceStage> {
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

class SpaceJoinStage final : public Cloneable<SpaceJoinStage> {
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

std::unique_ptr<const DecoderStep> FuseDecoder() {
  return std::make_unique<SimpleStep>(MakeStage<FuseStage>, Same);
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
  return std::make_unique<SimpleStep>(MakeStage<SpaceJoinStage>, Same);
}

}  // namespace hydrad
