// The "decoder" of tokenizer.json: from tokens back to text, as a pipeline that can be fed token by token.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_DECODER_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_DECODER_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/text/tokenizer/json_node.h"
#include "server/text/tokenizer/pattern.h"

namespace hydrad {

// One stage of a running pipeline. A stage receives tokens, each in one or more fragments of UTF-8, and hands
// on what has become certain at once. Decoding a whole sequence and streaming it are the same code, so they
// cannot disagree but where StartStreaming says so. One thread at a time.
class DecodeStage {
 public:
  virtual ~DecodeStage() = default;
  // Takes a fragment of a token; `ends_token` marks its last one.
  virtual void Add(std::string_view fragment, bool ends_token) = 0;
  // No more tokens follow. The stage before calls this, once.
  virtual void Finish() = 0;
  // Somebody reads along from here on: a whole character is handed on even if later tokens could still spoil
  // it.
  virtual void StartStreaming() { next_->StartStreaming(); }
  // Whether text of the tokens so far is held back.
  virtual bool holding() const { return false; }
  // A copy that goes on from here, of which set_next is still to be called.
  virtual std::unique_ptr<DecodeStage> Clone() const = 0;

  void set_next(DecodeStage* next) { next_ = next; }

 protected:
  DecodeStage* next() { return next_; }

 private:
  DecodeStage* next_ = nullptr;
};

// One stage as the file describes it. Immutable.
class DecoderStep {
 public:
  virtual ~DecoderStep() = default;
  // REQUIRES: the step outlives the stage and its clones.
  virtual std::unique_ptr<DecodeStage> Start() const = 0;
  // The bytes of one token by itself, in the middle of a text, after this step.
  virtual std::string TokenBytes(std::string bytes) const = 0;
};

// A pipeline at work; a copy goes on by itself. Keeps the Decoder's address.
class DecodeStream {
 public:
  explicit DecodeStream(std::vector<std::unique_ptr<DecodeStage>> stages);
  DecodeStream(const DecodeStream& other);
  DecodeStream& operator=(const DecodeStream&) = delete;

  void AddToken(std::string_view token) { first_->Add(token, /*ends_token=*/true); }
  void StartStreaming() { first_->StartStreaming(); }
  void Finish() { first_->Finish(); }
  // The text that has become certain since the last call.
  std::string Take() { return std::exchange(out_, {}); }
  bool holding() const;

 private:
  class Collector;
  void Link();

  std::vector<std::unique_ptr<DecodeStage>> stages_;  // each hands on to the next, the last to collector_
  std::unique_ptr<DecodeStage> collector_;
  DecodeStage* first_ = nullptr;
  std::string out_;
};

// A list of steps. Immutable, so any thread may use it.
// Known: Sequence, ByteLevel, ByteFallback, Fuse, Strip, Replace, Metaspace. Without a decoder the tokens are
// joined by spaces.
class Decoder {
 public:
  // `node` may be null. Errors name the component that is not supported or broken.
  static absl::StatusOr<Decoder> Parse(const JsonNode& node);

  // Starts a pipeline. REQUIRES: this outlives it and its copies.
  std::unique_ptr<DecodeStream> Start() const;
  // The bytes that `token` stands for in the middle of a text; not always UTF-8.
  std::string TokenBytes(std::string_view token) const;

 private:
  std::vector<std::unique_ptr<const DecoderStep>> steps_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_DECODER_H_
