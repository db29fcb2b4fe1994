// The front fixture behind real listeners on ports of the system's choice, and clients for them.
#ifndef HYDRAD_TESTS_RPC_SERVED_FIXTURE_H_
#define HYDRAD_TESTS_RPC_SERVED_FIXTURE_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "hydrad/v1/admin.grpc.pb.h"
#include "hydrad/v1/inference.grpc.pb.h"
#include "server/rpc/server.h"
#include "tests/fakes/keep_grpc.h"
#include "tests/fakes/tenant.h"
#include "tests/front/front_fixture.h"

namespace hydrad {

// The reason in the details of an error that came over the wire; "" if there is none.
inline std::string WireReason(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  google::rpc::ErrorInfo info;
  for (const auto& detail : details.details()) {
    if (detail.UnpackTo(&info)) return info.reason();
  }
  return "";
}

inline bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    if (detail.Is<google::rpc::RetryInfo>()) return true;
  }
  return false;
}

// How a stream ends, when what is left of it has been read.
template <class Message>
grpc::Status FinishOf(grpc::ClientReader<Message>& reader) {
  for (Message message; reader.Read(&message);) continue;
  return reader.Finish();
}

// A client's context with a key.
class Call : public grpc::ClientContext {
 public:
  explicit Call(const std::string& key = "") {
    if (!key.empty()) AddMetadata("authorization", "Bearer " + key);
  }
};

// Serves with the tenants of FrontFixture; administrators have the key "key-admin".
class ServedFixture : public FrontFixture {
 protected:
  explicit ServedFixture(ServerOptions options = {}) {
    KeepGrpc();
    Serve(std::move(options));
  }
  ~ServedFixture() override { StopServing(); }

  void Serve(ServerOptions options) {
    options.health.interval = std::chrono::milliseconds(1);
    auto server = Server::Start(
        options, *intake_, admins_,
        {.version = "1.2.3", .base_model = "tiny", .device = "fake", .weight_type = "bf16"}, [] {});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    admin_channel_ = grpc::CreateChannel(server_->admin_address(), grpc::InsecureChannelCredentials());
    inference_ = v1::Inference::NewStub(channel_);
    admin_ = v1::Admin::NewStub(admin_channel_);
  }
  // Ends what the test left running, as a scheduler that drains would.
  void StopServing() {
    scheduler_.EndAll();
    server_.reset();
  }

  static std::vector<TenantConfig> Admins() { return {Tenant("admin", "key-admin")}; }
  static v1::GenerateRequest Ask(const std::string& text, const std::string& adapter = "") {
    v1::GenerateRequest message;
    message.set_text(text);
    message.set_adapter(adapter);
    return message;
  }
  static OutputPiece Piece(const std::string& text, std::vector<int32_t> tokens = {}, bool finished = false) {
    OutputPiece piece;
    piece.text = text;
    piece.tokens = std::move(tokens);
    piece.finished = finished;
    return piece;
  }

  Admission admins_{Admins(), clock_};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_, admin_channel_;
  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_RPC_SERVED_FIXTURE_H_
