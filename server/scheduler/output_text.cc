#include "server/scheduler/output_text.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace hydrad {
namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

}  // namespace

OutputText::OutputText(Detokenizer behind_prompt, const Stopping& stopping, const OutputOptions& output)
    : logprobs_(output.top_logprobs >= 0), detokenizer_(std::move(behind_prompt)), matcher_(stopping.stop) {}

bool OutputText::Add(Sampled drawn, bool scan) {
  const std::string text = detokenizer_.Add(drawn.token);
  scan_ = scan;
  Append(text, scan);
  const bool holds = detokenizer_.holding();
  // Text that came out completes the tokens before this one, whose bytes were waiting for it.
  if (!text.empty() || !holds) {
    for (Held& held : held_) held.text_end = std::min(held.text_end, added_);
  }
  held_.push_back({std::move(drawn), holds ? kUnknown : added_});
  return !match_.empty();
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
    Append(detokenizer_.Finish(), scan_);
    ready_ += matcher_.Finish();
  }
  for (Held& held : held_) held.text_end = 0;
  OutputPiece piece = Take();
  piece.finished = true;
  piece.reason = match_.empty() ? reason : FinishReason::kStopString;
  piece.stop = match_;
  return piece;
}

}  // namespace hydrad
