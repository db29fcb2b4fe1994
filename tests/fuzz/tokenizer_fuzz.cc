// Any text as a tokenizer.json: whatever loads must encode, and decode alike whole and as a stream.
#include "server/base/check.h"
#include "server/base/log.h"
#include "server/text/tokenizer.h"
#include "server/text/tokenizer/utf8.h"

namespace hydrad {
namespace {

void UseIt(const Tokenizer& tokenizer, std::string_view text) {
  for (int flags = 0; flags < 4; ++flags) {
    const auto ids = tokenizer.Encode(text, (flags & 1) != 0, (flags & 2) != 0);
    const bool skip_special = (flags & 1) != 0;
    const std::string whole = tokenizer.Decode(ids, skip_special);
    HYDRAD_CHECK(IsUtf8(whole));
    const std::span<const int32_t> all = ids;
    std::string joined;
    Detokenizer stream(tokenizer, skip_special, all.first(all.size() / 3), &joined);
    bool sound = true;  // no token is a byte that may spoil others, nor may become one
    for (int32_t id : all) {
      const std::string bytes = tokenizer.TokenBytes(id);
      sound &= IsUtf8(bytes) && bytes.find("<0x") == std::string::npos;
    }
    for (int32_t id : all.subspan(all.size() / 3)) {
      const std::string piece = stream.Add(id);
      HYDRAD_CHECK(IsUtf8(piece));
      joined += piece;
    }
    joined += stream.Finish();
    HYDRAD_CHECK(joined == whole || !sound);
  }
  for (int id = -1; id <= 8; ++id) (void)tokenizer.TokenBytes(id);
  HYDRAD_CHECK(tokenizer.vocab_size() >= 0);
}

}  // namespace
}  // namespace hydrad

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const bool quiet = (hydrad::InitLog("error"), true);
  (void)quiet;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = hydrad::Tokenizer::FromJson(json);
  if (!tokenizer.ok()) return 0;
  hydrad::UseIt(**tokenizer, "Hello  wörld, it's 42!\n▁a<s></s> e\xcc\x81 \xf0\x9f\x98\x80\xff");
  hydrad::UseIt(**tokenizer, json.substr(0, 200));
  return 0;
}
