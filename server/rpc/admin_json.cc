#include "server/rpc/admin_json.h"

#include <google/protobuf/util/json_util.h>

#include <memory>
#include <string>

#include "hydrad/v1/admin.pb.h"
#include "server/base/invalid_argument.h"
#include "server/base/status_macros.h"
#include "server/front/error_details.h"
#include "server/rpc/from_proto.h"
#include "server/rpc/server_status.h"
#include "server/rpc/to_proto.h"

namespace hydrad {
namespace {

namespace util = google::protobuf::util;

template <class Message>
absl::StatusOr<Message> Read(std::string_view body) {
  Message message;
  const std::string text(body.empty() ? "{}" : body);
  const auto status = util::JsonStringToMessage(text, &message);
  if (status.ok()) return message;
  return WithReason(InvalidArgument("the body is no {} in JSON: {}", Message::descriptor()->name(),
                                    std::string(status.message())),
                    "MALFORMED_MESSAGE");
}

template <class Message>
std::string Written(const Message& message) {
  util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string out;
  (void)util::MessageToJsonString(message, &out, options);  // it fails for messages of type Any alone
  return out;
}

template <class Value>
absl::StatusOr<std::string> Written(const absl::StatusOr<Value>& value) {
  if (!value.ok()) return value.status();
  return Written(ToProto(*value));
}

// A method that changes adapters.
template <class Message, class Call, class Value>
JsonCall Change(std::shared_ptr<AdapterAdmin> adapters,
                void (AdapterAdmin::*change)(const Call&, const std::string&, const AdminDone<Value>&)) {
  return
      [adapters, change](std::string_view body, const std::string& peer, const AdminDone<std::string>& done) {
        const absl::StatusOr<Message> message = Read<Message>(body);
        if (!message.ok()) return done(message.status());
        ((*adapters).*change)(FromProto(*message), peer,
                              [done](const absl::StatusOr<Value>& value) { done(Written(value)); });
      };
}

// A method that is answered at once, with what `answer` gives.
template <class Message, class Answer>
JsonCall Ask(Answer answer) {
  return [answer](std::string_view body, const std::string&, const AdminDone<std::string>& done) {
    const absl::StatusOr<Message> message = Read<Message>(body);
    done(message.ok() ? answer(*message) : absl::StatusOr<std::string>(message.status()));
  };
}

}  // namespace

JsonCalls AdminJsonCalls(const Intake& intake, const AdapterAdmin& admin, const ServerFacts& facts) {
  const auto adapters = std::make_shared<AdapterAdmin>(admin);
  return {
      {"LoadAdapter", Change<v1::LoadAdapterRequest>(adapters, &AdapterAdmin::Load)},
      {"UnloadAdapter", Change<v1::UnloadAdapterRequest>(adapters, &AdapterAdmin::Unload)},
      {"PinAdapter", Change<v1::PinAdapterRequest>(adapters, &AdapterAdmin::Pin)},
      {"UnpinAdapter", Change<v1::UnpinAdapterRequest>(adapters, &AdapterAdmin::Pin)},
      {"ApplyAdapters", Change<v1::ApplyAdaptersRequest>(adapters, &AdapterAdmin::Apply)},
      {"GetAdapter", Ask<v1::GetAdapterRequest>([adapters](const v1::GetAdapterRequest& message) {
         return Written(adapters->Get(FromProto(message)));
       })},
      {"ListAdapters", Ask<v1::ListAdaptersRequest>([adapters](const v1::ListAdaptersRequest& message) {
         return Written(adapters->List(FromProto(message)));
       })},
      {"GetServerStatus", Ask<v1::GetServerStatusRequest>([&intake, facts](const auto&) {
         return absl::StatusOr<std::string>(Written(ServerStatusOf(intake, facts)));
       })},
  };
}

}  // namespace hydrad
