// Greedy tokens asked of a daemon, by token ids.
#ifndef HYDRAD_TESTS_E2E_GREEDY_H_
#define HYDRAD_TESTS_E2E_GREEDY_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "hydrad/v1/inference.grpc.pb.h"
#include "tests/fakes/keep_grpc.h"

namespace hydrad {

inline std::shared_ptr<grpc::Channel> Channel(const std::string& address) {
  KeepGrpc();
  return grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
}

// For exactly `tokens` tokens, whatever they are; prompt and adapter are the caller's.
inline v1::GenerateRequest GreedyRequest(int tokens) {
  v1::GenerateRequest request;
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stopping()->set_max_tokens(tokens);
  request.mutable_stopping()->set_ignore_eos(true);
  return request;
}

// The `tokens` tokens after `ids`; none, and a failed test, if the daemon refuses. Any thread.
inline std::vector<int> Greedy(v1::Inference::Stub& stub, const std::string& adapter,
                               std::span<const int> ids, int tokens) {
  v1::GenerateRequest request = GreedyRequest(tokens);
  request.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  request.set_adapter(adapter);
  request.mutable_output()->set_token_ids(true);
  grpc::ClientContext context;
  v1::GenerateResult result;
  const grpc::Status status = stub.GenerateUnary(&context, request, &result);
  EXPECT_TRUE(status.ok()) << adapter << ": " << status.error_message();
  EXPECT_EQ(result.choices_size(), 1);
  if (result.choices_size() != 1) return {};
  EXPECT_EQ(result.choices(0).token_ids_size(), tokens);
  return {result.choices(0).token_ids().begin(), result.choices(0).token_ids().end()};
}

}  // namespace hydrad

#endif  // HYDRAD_TESTS_E2E_GREEDY_H_
