// Messages as they come: bytes that nobody has looked at. Only services include this, because it brings gRPC.
//
// gRPC parses a message before it calls a method, so that strangers have theirs parsed too, and answers bytes
// that are no message with UNIMPLEMENTED. The methods of an UnreadService get the bytes, and parse them when
// they know who calls.
#ifndef HYDRAD_SERVER_RPC_INCOMING_H_
#define HYDRAD_SERVER_RPC_INCOMING_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "server/base/check.h"

namespace hydrad {

// Reads `message` from `bytes`, which it frees. INVALID_ARGUMENT for bytes that are none (MALFORMED_MESSAGE),
// and for text that is not UTF-8 (INVALID_FIELD, naming the field).
absl::Status ParseMessage(grpc::ByteBuffer bytes, google::protobuf::Message* message);

// The path of the first string in `bytes`, a `type`, that is not UTF-8 ("stopping.stop[2]"); "" if there is
// none before the bytes end or make no sense.
std::string FieldThatIsNotUtf8(const google::protobuf::Descriptor& type, std::string_view bytes);

// What a call sent as its Message.
template <class Message>
class Incoming {
 public:
  // Takes the bytes as gRPC hands them over.
  void Set(grpc::ByteBuffer* bytes) { bytes_.Swap(bytes); }
  // Bytes on the wire.
  size_t size() const { return bytes_.Length(); }
  // Gives the bytes away, so that a call that lasts need not keep them. It is const because gRPC hands
  // methods a constant.
  grpc::ByteBuffer Take() const {
    grpc::ByteBuffer bytes;
    bytes.Swap(&bytes_);
    return bytes;
  }
  absl::StatusOr<Message> Parse() const {
    Message message;
    if (absl::Status status = ParseMessage(Take(), &message); !status.ok()) return status;
    return message;
  }

 private:
  mutable grpc::ByteBuffer bytes_;
};

// The service `Generated` (such as v1::Inference) with methods that take an Incoming. A method that is not
// set answers UNIMPLEMENTED.
template <class Generated>
class UnreadService : public Generated::Service {
 protected:
  template <class Request, class Response>
  void SetUnary(const char* method,
                std::function<grpc::ServerUnaryReactor*(grpc::CallbackServerContext*,
                                                        const Incoming<Request>*, Response*)>
                    run) {
    this->MarkMethodCallback(IndexOf(method),
                             new grpc::internal::CallbackUnaryHandler<Incoming<Request>, Response>(
                                 std::move(run)));  // gRPC owns it
  }
  template <class Request, class Response>
  void SetStream(const char* method,
                 std::function<grpc::ServerWriteReactor<Response>*(grpc::CallbackServerContext*,
                                                                   const Incoming<Request>*)>
                     run) {
    this->MarkMethodCallback(
        IndexOf(method),
        new grpc::internal::CallbackServerStreamingHandler<Incoming<Request>, Response>(std::move(run)));
  }

 private:
  // Methods are numbered in the order of the .proto file.
  static int IndexOf(const char* method) {
    const auto* pool = google::protobuf::DescriptorPool::generated_pool();
    const auto* found = pool->FindServiceByName(Generated::service_full_name())->FindMethodByName(method);
    HYDRAD_CHECK(found != nullptr);
    return found->index();
  }
};

}  // namespace hydrad

namespace grpc {

template <class Message>
class SerializationTraits<hydrad::Incoming<Message>, void> {
 public:
  static Status Deserialize(ByteBuffer* bytes, hydrad::Incoming<Message>* message) {
    message->Set(bytes);
    return Status::OK;
  }
};

}  // namespace grpc

#endif  // HYDRAD_SERVER_RPC_INCOMING_H_
