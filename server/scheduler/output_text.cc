#include "server/scheduler/output_text.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace hydrad {
namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

// Whether the last bytes begin a UTF-8 sequence that is longer than they are.
bool EndsInsideSequence(std::string_view bytes) {
  for (size_t back = 1; back <= std::min<size_t>(3, bytes.size()); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if (byte < 0x80) return false;
    if (byte >= 0xC0) return back < (byte >= 0xF0 ? 4u : byte >= 0xE0 ? 3u : 2u);
  }
  return false;
}

}  // namespace

OutputText::OutputText(const Tokenizer& tokenizer, const Stopping& stopping, const OutputOptions& output)
    : tokenizer_(tokenizer),
      skip_special_(output.skip_special_tokens),
      logprobs_(output.top_logprobs >= 0),
      detokenizer_(tokenizer, output.skip_special_tokens),
      matcher_(stopping.stop) {}

bool OutputText::Add(Sampled drawn, bool scan) {
  const std::string text = detokenizer_.Add(drawn.token);
  const bool holds = HoldsBytesOf(drawn.token, text);
  Append(text, scan);
  // Text that came out completes the tokens before this one, whose bytes were waiting for it.
  if (!text.empty()) {
    for (Held& held : held_) held.text_end = std::min(held.text_end, added_);
  }
  held_.push_back({std::move(drawn), holds ? kUnknown : added_});
  return !match_.empty();
}

// Whether the detokeniser, having answered `text` to `token`, holds back the end of the token's bytes.
bool OutputText::HoldsBytesOf(int32_t token, std::string_view text) const {
  if (skip_special_ && tokenizer_.IsSpecial(token)) return false;
  const std::string bytes = tokenizer_.TokenBytes(token);
  return text.empty() ? !bytes.empty() : EndsInsideSequence(bytes);
}

void OutputText::AddSilent(Sampled drawn) { held_.push_back({std::move(drawn), kUnknown}); }

void OutputText::Append(std::string_view text, bool scan) {
  added_ += text.size();
  if (!scan) {
    ready_ += text;
    released_ = added_;
    return;
  }
  const StopMatcher::Result result = matcher_.Add(text);
  ready_ += result.text;
  released_ += result.text.size();
  match_ = result.match;
}

OutputPiece OutputText::Take() {
  OutputPiece piece;
  piece.text = std::exchange(ready_, {});
  size_t count = 0;
  for (; count < held_.size() && held_[count].text_end <= released_; ++count) {
    piece.tokens.push_back(held_[count].drawn.token);
    if (logprobs_) piece.logprobs.push_back(std::move(held_[count].drawn));
  }
  held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
  return piece;
}

OutputPiece OutputText::Finish(FinishReason reason) {
  if (match_.empty()) {
    ready_ += matcher_.Finish();
    ready_ += detokenizer_.Finish();
  }
  for (Held& held : held_) held.text_end = 0;
  OutputPiece piece = Take();
  piece.finished = true;
  piece.reason = reason;
  piece.stop = match_;
  return piece;
}

}  // namespace hydrad
