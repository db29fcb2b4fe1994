// How likely a model is to say each of some given texts behind a prompt: what a classifier asks.
//
// Every label is a choice of one request, which is made to say it token by token while the log-probabilities
// stay the model's own. So a label is scored by what generating it goes through: the prompt is run once for
// all labels, and what depends on the prompt alone (an expert that is picked, the place of an invocation)
// does not see them.
#ifndef HYDRAD_SERVER_FRONT_LABEL_SCORES_H_
#define HYDRAD_SERVER_FRONT_LABEL_SCORES_H_

#include <absl/status/statusor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/scheduler/request.h"
#include "server/text/tokenizer.h"

namespace hydrad {

// The tokens of a prompt's text with another behind it.
using EncodeBehind = std::function<std::vector<int32_t>(std::string_view text)>;

// The tokens of each label, [labels]: those that read as the label behind the tokens of the prompt, where it
// stands alone or, where `behind` is not empty, at the end of the whole text. INVALID_ARGUMENT
// (INVALID_FIELD), naming the label, where neither does, as when a model's words begin with their space and
// the prompt ends in it.
absl::StatusOr<std::vector<std::vector<int32_t>>> LabelTokens(const Tokenizer& tokenizer,
                                                              std::span<const int32_t> prompt,
                                                              const std::vector<std::string>& labels,
                                                              const EncodeBehind& behind);

// Makes `request` say the labels, one a choice. Choices of labels that are shorter than the longest have one
// token more, which ends them. INVALID_ARGUMENT (INVALID_FIELD) if no token of the vocabulary is left for
// that, or if a label does not fit behind the prompt. REQUIRES: the request has its prompt; every label has
// tokens.
absl::Status SayLabels(std::vector<std::vector<int32_t>> labels, int vocab_size, int max_context,
                       Request* request);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_LABEL_SCORES_H_
