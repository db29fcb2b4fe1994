// A daemon without a model: the services of proto/ on one loopback port, scripted by the test.
#ifndef HYDRAD_TESTS_FAKES_FAKE_SERVER_H_
#define HYDRAD_TESTS_FAKES_FAKE_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"

namespace hydrad {

// Generate answers each word of the prompt as one token (id = its length), prefixed "CHOICE:" when n > 1, and
// stops by LENGTH at max_tokens. Adapter "missing" is NOT_FOUND with details; adapter "stuck" sends the start
// only, until the client gives up. Chat answers the content of the last message likewise. Only the base model
// has a chat template. Adapters are kept in memory and paged by two. Thread-safe. Stops by
// destruction.
class FakeServer {
 public:
  FakeServer();
  ~FakeServer();

  std::string address() const;  // 127.0.0.1:PORT

  // Every call of Inference and Admin fails with this from now on; code 0 ends that.
  void FailWith(const google::rpc::Status& status);
  void SetHealth(grpc::health::v1::HealthCheckResponse::ServingStatus status);
  // WatchAdapters sends the present adapters, then these, then ends.
  void SetWatchEvents(std::vector<v1::AdapterEvent> events);

  v1::GenerateRequest last_generate() const;
  v1::ChatRequest last_chat() const;
  std::string last_authorization() const;   // of the last call; "" when it had none
  std::string last_adapter_header() const;  // x-hydrad-adapter, likewise
  int generate_calls() const;
  int peers() const;         // different connections so far
  void AwaitCancel() const;  // returns when a client has given up on a "stuck" Generate or Chat

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A status with ErrorInfo, a violated field (when not empty) and RetryInfo (when not 0).
google::rpc::Status RichStatus(int code, const std::string& message, const std::string& reason,
                               const std::string& field = "", double retry_seconds = 0);

}  // namespace hydrad

#endif  // HYDRAD_TESTS_FAKES_FAKE_SERVER_H_
