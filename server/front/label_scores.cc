#include "server/front/label_scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "server/base/check.h"
#include "server/front/error_details.h"

namespace hydrad {
namespace {

using Labels = std::vector<std::vector<int32_t>>;

// Allows the tokens of one text, one after the other, and then the token that ends it.
class Dictation final : public AnswerMatcher {
 public:
  Dictation(std::shared_ptr<const Labels> labels, size_t label, int32_t end, int vocab_size)
      : labels_(std::move(labels)),
        tokens_((*labels_)[label]),
        end_(end),
        mask_((static_cast<size_t>(vocab_size) + 31) / 32) {
    Flip();
  }
  bool Ready(TimePoint) override { return true; }
  absl::StatusOr<std::span<const uint32_t>> Mask() const override { return std::span<const uint32_t>(mask_); }
  void Accept(int32_t token) override {
    HYDRAD_CHECK(token == next());
    Flip();
    ++said_;
    Flip();
  }

 private:
  int32_t next() const { return said_ < tokens_.size() ? tokens_[said_] : end_; }
  void Flip() {
    const auto token = static_cast<size_t>(next());
    mask_[token / 32] ^= uint32_t{1} << (token % 32);
  }

  const std::shared_ptr<const Labels> labels_;
  const std::vector<int32_t>& tokens_;
  const int32_t end_;
  size_t said_ = 0;
  std::vector<uint32_t> mask_;
};

class Dictations final : public AnswerGrammar {
 public:
  Dictations(Labels labels, int32_t end, int vocab_size)
      : labels_(std::make_shared<const Labels>(std::move(labels))), end_(end), vocab_size_(vocab_size) {}
  std::unique_ptr<AnswerMatcher> Start(int choice) override {
    return std::make_unique<Dictation>(labels_, static_cast<size_t>(choice), end_, vocab_size_);
  }

 private:
  const std::shared_ptr<const Labels> labels_;
  const int32_t end_;
  const int vocab_size_;
};

bool ReadsAs(std::string_view label, Detokenizer behind_prompt, std::span<const int32_t> tokens) {
  std::string text;
  for (const int32_t token : tokens) text += behind_prompt.Add(token);
  return !tokens.empty() && text + behind_prompt.Finish() == label;
}

// What follows the prompt in `whole`; nothing where it does not begin with the prompt.
std::vector<int32_t> Behind(std::span<const int32_t> prompt, std::vector<int32_t> whole) {
  if (whole.size() < prompt.size() || !std::equal(prompt.begin(), prompt.end(), whole.begin())) return {};
  whole.erase(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(prompt.size()));
  return whole;
}

// The first token that is in no label; `vocab_size` if they all are.
int32_t TokenInNone(const Labels& labels, int vocab_size) {
  std::vector<bool> taken(static_cast<size_t>(vocab_size));
  for (const std::vector<int32_t>& label : labels) {
    for (const int32_t token : label) taken[static_cast<size_t>(token)] = true;
  }
  return static_cast<int32_t>(std::ranges::find(taken, false) - taken.begin());
}

}  // namespace

absl::StatusOr<Labels> LabelTokens(const Tokenizer& tokenizer, std::span<const int32_t> prompt,
                                   const std::vector<std::string>& labels, const EncodeBehind& behind) {
  const Detokenizer behind_prompt(tokenizer, /*skip_special=*/false, prompt);
  Labels all;
  for (size_t i = 0; i < labels.size(); ++i) {
    std::vector<int32_t> tokens = tokenizer.Encode(labels[i], /*add_special=*/false, /*parse_special=*/false);
    if (behind && !ReadsAs(labels[i], behind_prompt, tokens)) tokens = Behind(prompt, behind(labels[i]));
    if (!ReadsAs(labels[i], behind_prompt, tokens)) {
      return BadFields({{fmt::format("labels[{}]", i),
                         "has no tokens that stand behind the prompt's: a space between the two belongs to "
                         "the label"}});
    }
    all.push_back(std::move(tokens));
  }
  return all;
}

absl::Status SayLabels(Labels labels, int vocab_size, int max_context, Request* request) {
  size_t longest = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    longest = std::max(longest, labels[i].size());
    if (request->prompt.size() + labels[i].size() <= static_cast<size_t>(max_context)) continue;
    return BadFields({{fmt::format("labels[{}]", i),
                       fmt::format("has {} tokens: with the prompt's {} at most {} are taken",
                                   labels[i].size(), request->prompt.size(), max_context)}});
  }
  const int32_t end = TokenInNone(labels, vocab_size);
  if (end == vocab_size) return BadFields({{"labels", "must not hold every token of the vocabulary"}});
  request->n = static_cast<int>(labels.size());
  request->sampling = SamplingParams();
  request->sampling.temperature = 0;
  request->stopping = Stopping();
  request->stopping.max_tokens = static_cast<int>(longest);
  request->stopping.stop_ids = {end};
  request->output.top_logprobs = 0;
  request->form = std::make_shared<Dictations>(std::move(labels), end, vocab_size);
  return absl::OkStatus();
}

}  // namespace hydrad
