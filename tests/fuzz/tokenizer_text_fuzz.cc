// Any bytes as a prompt, for the tokenizers of the two kinds: encoding must lose nothing, and ids made of the
// same bytes must decode alike whole and as the stream behind a third of them, unless something had to be
// replaced.
#include <memory>

#include "server/base/check.h"
#include "server/text/tokenizer.h"
#include "server/text/tokenizer/utf8.h"
#include "tests/text/fixture.h"

namespace hydrad {
namespace {

struct Tokenizers {
  std::unique_ptr<const Tokenizer> bytes, pieces;
};

const Tokenizers& Both() {
  static const Tokenizers both = [] {
    nlohmann::json bytes =
        ByteLevelFile({{"h", "e"}, {"Ġ", "he"}, {"Ã", "©"}, {"a", "a"}, {"aa", "aa"}, {"Ġ", "Ġ"}});
    bytes["normalizer"] = nullptr;
    bytes["added_tokens"] =
        nlohmann::json::array({{{"content", "<|end|>"}, {"special", true}, {"normalized", false}}});
    nlohmann::json pieces = SentencePieceFile({"▁", "a", "b"}, {{"▁", "a"}, {"▁", "▁"}, {"a", "b"}});
    return Tokenizers{LoadOrDie(bytes), LoadOrDie(pieces)};
  }();
  return both;
}

void CheckStream(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  const std::string whole = tokenizer.Decode(ids, skip_special);
  HYDRAD_CHECK(IsUtf8(whole));
  const bool sound = whole.find("\uFFFD") == std::string::npos;
  const std::span<const int32_t> all = ids;
  const size_t prompt = ids.size() / 3;
  std::string joined;
  Detokenizer stream(tokenizer, skip_special, all.first(prompt), &joined);
  for (int32_t id : all.subspan(prompt)) {
    joined += stream.Add(id);
    HYDRAD_CHECK(IsUtf8(joined) && (whole.starts_with(joined) || !sound));
  }
  joined += stream.Finish();
  HYDRAD_CHECK(IsUtf8(joined) && (joined == whole || !sound));
}

void CheckText(std::string_view text) {
  const std::string repaired = RepairUtf8(text);
  for (bool parse_special : {false, true}) {
    const auto ids = Both().bytes->Encode(text, false, parse_special);
    HYDRAD_CHECK(Both().bytes->Decode(ids, false) == repaired);
  }
  // ▁ becomes a space on the way back, so only a text without one comes back whole.
  if (repaired.find("▁") != repaired.npos) return;
  const auto ids = Both().pieces->Encode(text, true, false);
  HYDRAD_CHECK(Both().pieces->Decode(ids, true) == repaired);
}

void CheckIds(const uint8_t* data, size_t size) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i + 1 < size && i < 512; i += 2)
    ids.push_back(data[i] % 2 ? data[i + 1] : data[i + 1] + 3);
  for (bool skip_special : {false, true}) {
    CheckStream(*Both().bytes, ids, skip_special);
    CheckStream(*Both().pieces, ids, skip_special);
  }
}

}  // namespace
}  // namespace hydrad

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hydrad::CheckText({reinterpret_cast<const char*>(data), size});
  hydrad::CheckIds(data, size);
  return 0;
}
