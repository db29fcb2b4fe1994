#include "server/rpc/health_question.h"

#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>

#include <chrono>

#include "grpc/health/v1/health.grpc.pb.h"

namespace hydrad {

bool AnswersHealth(FileDescriptor connection, Duration limit) {
  const auto channel = grpc::CreateInsecureChannelFromFd("hydrad-probe", connection.Release());
  const auto stub = grpc::health::v1::Health::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::duration_cast<std::chrono::system_clock::duration>(limit));
  grpc::health::v1::HealthCheckResponse response;
  return stub->Check(&context, {}, &response).ok();
}

}  // namespace hydrad
