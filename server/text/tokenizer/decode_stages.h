// The stages that the decoding steps of decode_bytes.cc and decode_steps.cc are built from.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_DECODE_STAGES_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_DECODE_STAGES_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "server/text/tokenizer/decoder.h"

namespace hydrad {

// `Stage` is copied to be cloned.
template <class Stage, class Base = DecodeStage>
class Cloneable : public Base {
 public:
  std::unique_ptr<DecodeStage> Clone() const final {
    return std::make_unique<Stage>(static_cast<const Stage&>(*this));
  }
};

// A stage that looks at whole tokens.
class TokenStage : public DecodeStage {
 public:
  void Add(std::string_view fragment, bool ends_token) final {
    if (ends_token && partial_.empty()) return AddToken(fragment);
    partial_.append(fragment);
    if (ends_token) AddToken(std::exchange(partial_, {}));
  }
  bool holding() const override { return !partial_.empty(); }

 private:
  virtual void AddToken(std::string_view token) = 0;
  std::string partial_;
};

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

template <class Stage>
std::unique_ptr<DecodeStage> MakeStage() {
  return std::make_unique<Stage>();
}

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_DECODE_STAGES_H_
