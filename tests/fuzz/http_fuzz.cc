// Any bytes as a connection's, cut anywhere: what is a request however they are cut is the same request. Its
// body is read as every endpoint would, and what it is refused for becomes an answer that is JSON.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/check.h"
#include "server/http/chat_completion_call.h"
#include "server/http/completion_call.h"
#include "server/http/error_answer.h"
#include "server/http/request_reader.h"
#include "server/http/routes.h"

namespace hydrad {
namespace {

using State = RequestReader::State;
constexpr RequestBounds kBounds = {.head_bytes = 1024, .body_bytes = 2048};

// All bodies of the requests in `bytes`, each behind its path, which come `step` at a time. Where there is no
// whole request any more the status of the refusal stands, or nothing.
std::vector<std::string> Read(std::string_view bytes, size_t step) {
  std::vector<std::string> requests;
  while (!bytes.empty()) {
    RequestReader reader(kBounds);
    while (!bytes.empty() && reader.state() != State::kDone && reader.state() != State::kBad) {
      const std::string_view some = bytes.substr(0, step);
      const size_t used = reader.Put(some);
      HYDRAD_CHECK(used <= some.size());
      bytes.remove_prefix(used);
    }
    if (reader.state() == State::kBad) {
      HYDRAD_CHECK(reader.error_status() >= 400 && !reader.error().empty());
      requests.push_back(std::to_string(reader.error_status()));
      return requests;
    }
    if (reader.state() != State::kDone) return requests;
    FindRoute(reader.head().method, reader.head().path);
    requests.push_back(reader.head().path + "\n" + reader.TakeBody());
  }
  return requests;
}

void ReadAsEveryEndpoint(std::string_view body) {
  const auto look = [](const absl::Status& status) {
    if (status.ok()) return;
    HYDRAD_CHECK(ParseJson(ErrorAnswer(status).body).ok());
  };
  look(ReadCompletionCall(body, "base").status());
  look(ReadChatCompletionCall(body, "base").status());
}

}  // namespace
}  // namespace hydrad

// The first byte says how the rest is cut.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto whole = hydrad::Read(bytes, bytes.size());
  HYDRAD_CHECK(hydrad::Read(bytes, 1 + data[0] % 64u) == whole);
  for (const std::string& request : whole) {
    hydrad::ReadAsEveryEndpoint(
        std::string_view(request).substr(std::min(request.find('\n') + 1, request.size())));
  }
  hydrad::ReadAsEveryEndpoint(bytes);
  return 0;
}
