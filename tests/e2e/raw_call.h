// One RPC as bytes, by its name: what a client that trusts nothing and is not to be trusted sends.
#ifndef HYDRAD_TESTS_E2E_RAW_CALL_H_
#define HYDRAD_TESTS_E2E_RAW_CALL_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace hydrad {

struct RawCall {
  std::string method;  // "/package.Service/Method"
  std::string request;
  std::vector<std::pair<std::string, std::string>> metadata;
  std::optional<std::chrono::milliseconds> deadline;
  int cancel_after = -1;  // messages read; -1: never, unless the stream is `endless`
  bool endless = false;   // it is cancelled once nothing more comes for a moment
};

struct RawReply {
  grpc::Status status;
  std::vector<std::string> messages;
  bool cancelled = false;  // by this end
};

// Makes the call and waits for its end. nullopt: it hangs, which is to have no event for a minute beyond its
// deadline or its cancel. Any thread.
std::optional<RawReply> Make(const std::shared_ptr<grpc::Channel>& channel, const RawCall& call);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_RAW_CALL_H_
