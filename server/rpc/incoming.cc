#include "server/rpc/incoming.h"

#include <fmt/core.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <map>
#include <optional>

#include "server/base/invalid_argument.h"
#include "server/front/error_details.h"
#include "server/text/tokenizer/utf8.h"  // IsUtf8

namespace hydrad {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Walks over a message on the wire. Returns the path of the first string that is not UTF-8, "" at the end of
// the message, nullopt where the bytes make no sense.
std::optional<std::string> Walk(const Descriptor& type, CodedInputStream& in) {
  std::map<int, int> seen;  // values of a field so far, by its number
  while (const uint32_t tag = in.ReadTag()) {
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool holds = field != nullptr &&
                       WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED &&
                       (field->type() == FieldDescriptor::TYPE_STRING || field->message_type() != nullptr);
    if (!holds) {
      if (!WireFormatLite::SkipField(&in, tag)) return std::nullopt;
      continue;
    }
    const int index = seen[field->number()]++;
    const std::string name =
        field->is_repeated() ? fmt::format("{}[{}]", field->name(), index) : field->name();
    int size = 0;
    if (!in.ReadVarintSizeAsInt(&size)) return std::nullopt;
    if (field->type() == FieldDescriptor::TYPE_STRING) {
      std::string text;
      if (!in.ReadString(&text, size)) return std::nullopt;
      if (!IsUtf8(text)) return name;
      continue;
    }
    const auto [limit, depth] = in.IncrementRecursionDepthAndPushLimit(size);
    const std::optional<std::string> inner = depth < 0 ? std::nullopt : Walk(*field->message_type(), in);
    if (!inner) return std::nullopt;
    if (!inner->empty()) return name + "." + *inner;
    if (!in.DecrementRecursionDepthAndPopLimit(limit)) return std::nullopt;
  }
  return "";
}

}  // namespace

std::string FieldThatIsNotUtf8(const Descriptor& type, std::string_view bytes) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  return Walk(type, in).value_or("");
}

absl::Status ParseMessage(grpc::ByteBuffer bytes, google::protobuf::Message* message) {
  if (!bytes.Valid()) return WithReason(InvalidArgument("the call carries no message"), "MALFORMED_MESSAGE");
  grpc::ByteBuffer again(bytes);  // shares them
  grpc::ProtoBufferReader reader(&bytes);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  const Descriptor& type = *message->GetDescriptor();
  grpc::Slice whole;
  if (again.DumpToSingleSlice(&whole).ok()) {
    const std::string_view view(reinterpret_cast<const char*>(whole.begin()), whole.size());
    const std::string field = FieldThatIsNotUtf8(type, view);
    if (!field.empty()) return BadFields({{field, "must be UTF-8"}});
  }
  return WithReason(InvalidArgument("the bytes of the call are not a {}", type.full_name()),
                    "MALFORMED_MESSAGE");
}

}  // namespace hydrad
