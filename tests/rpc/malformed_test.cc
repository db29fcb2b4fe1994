// Bytes that are no message, sent to every method of both services.
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>

#include <optional>

#include "tests/rpc/served_fixture.h"

namespace hydrad {
namespace {

using grpc::StatusCode;

class MalformedTest : public ServedFixture {
 protected:
  struct Method {
    std::string path;
    std::shared_ptr<grpc::Channel> channel;
    std::string key;
  };

  std::vector<Method> Methods() const {
    std::vector<Method> methods;
    const auto add = [&](const char* service, const auto& channel, const char* key) {
      const auto* found = google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
      for (int i = 0; i < found->method_count(); ++i) {
        methods.push_back({"/" + std::string(service) + "/" + found->method(i)->name(), channel, key});
      }
    };
    add("hydrad.v1.Inference", channel_, "key-globex");
    add("hydrad.v1.Admin", admin_channel_, "key-admin");
    return methods;
  }

  // How the call ends that sends these bytes, or nothing at all, as its message.
  static grpc::Status Send(const Method& method, const std::string& key,
                           const std::optional<std::string>& bytes) {
    grpc::GenericStub stub(method.channel);
    Call context(key);
    grpc::CompletionQueue queue;
    const auto next = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    const auto call = stub.PrepareCall(&context, method.path, &queue);
    call->StartCall(nullptr);
    next();
    if (bytes) {
      const grpc::Slice slice(*bytes);
      call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
      next();
    }
    call->WritesDone(nullptr);
    next();
    grpc::ByteBuffer answer;
    do {
      call->Read(&answer, nullptr);
    } while (next());
    grpc::Status status;
    call->Finish(&status, nullptr);
    next();
    return status;
  }
};

TEST_F(MalformedTest, IsTheCallersMistakeInEveryMethod) {
  const std::vector<Method> methods = Methods();
  EXPECT_EQ(methods.size(), 16u);
  for (const Method& method : methods) {
    for (const std::optional<std::string>& bytes :
         {std::optional<std::string>("\xff\xff\xff"), std::optional<std::string>()}) {
      const grpc::Status status = Send(method, method.key, bytes);
      EXPECT_EQ(status.error_code(), StatusCode::INVALID_ARGUMENT) << method.path << status.error_message();
      EXPECT_EQ(WireReason(status), "MALFORMED_MESSAGE") << method.path;
      EXPECT_EQ(Send(method, "", bytes).error_code(), StatusCode::UNAUTHENTICATED)
          << method.path << ": a stranger's is not looked at";
    }
  }
  EXPECT_EQ(scheduler_.submitted(), 0u);
}

TEST_F(MalformedTest, TextThatIsNotUtf8IsNamed) {
  const auto named = [this](const std::string& name) {
    for (const Method& method : Methods()) {
      if (method.path.ends_with("/" + name)) return method;
    }
    return Method();
  };
  const Method generate = named("Generate"), load = named("LoadAdapter");
  // Field 1, two bytes: the text of a prompt, the name of an adapter.
  const std::string bytes = "\x0a\x02\xc3\x28";
  EXPECT_EQ(Send(generate, generate.key, bytes).error_message(), "text must be UTF-8");
  EXPECT_EQ(Send(load, load.key, bytes).error_message(), "name must be UTF-8");
}

}  // namespace
}  // namespace hydrad
