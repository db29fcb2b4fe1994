// The "post_processor" of tokenizer.json: the tokens put around a text, such as BOS.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_POST_PROCESSOR_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_POST_PROCESSOR_H_

#include <cstdint>
#include <vector>

#include "server/text/tokenizer/json_node.h"

namespace hydrad {

// Known: TemplateProcessing whose `single` template holds the text once, ByteLevel (which moves offsets
// only), and a Sequence with at most one template.
struct PostProcessor {
  std::vector<int32_t> before, after;

  // `node` may be null: nothing is added. Errors name the component that is not supported or broken.
  static absl::StatusOr<PostProcessor> Parse(const JsonNode& node);
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_POST_PROCESSOR_H_
