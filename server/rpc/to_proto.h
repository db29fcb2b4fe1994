// From the program's own types to the messages of hydrad.v1.
#ifndef HYDRAD_SERVER_RPC_TO_PROTO_H_
#define HYDRAD_SERVER_RPC_TO_PROTO_H_

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"
#include "server/adapters/store/apply.h"
#include "server/front/adapter_page.h"
#include "server/front/answer_reader.h"
#include "server/front/make_request.h"  // AnswerHead
#include "server/scheduler/token_sink.h"

namespace hydrad {

// What a token writes (Tokenizer::TokenBytes). If it is null, log-probabilities come without their bytes.
using TokenBytes = std::function<std::string(int32_t token)>;
// `token_ids` says whether the ids are sent beside the text.
v1::Chunk ToProto(OutputPiece piece, bool token_ids, const TokenBytes& token_bytes);
// The chunk of a piece that `answer` takes apart.
v1::Chunk ToProto(OutputPiece piece, AnswerReader& answer, bool token_ids, const TokenBytes& token_bytes);
// Adds what a later chunk says of calls to those that `calls` has.
void Merge(const google::protobuf::RepeatedPtrField<v1::CalledTool>& more,
           google::protobuf::RepeatedPtrField<v1::CalledTool>* calls);
v1::Logprob ToProto(const Sampled& sampled, const TokenBytes& token_bytes);
v1::Usage ToProto(const Usage& usage);
v1::Routing ToProto(const AdapterRouting& routing);
v1::ExpertRoute ToProto(const RouteTaken& route);
v1::Adapter ToProto(const AdapterInfo& info);
v1::ApplyAdaptersResponse ToProto(const std::vector<AppliedChange>& changes);
v1::ListAdaptersResponse ToProto(const AdapterPage& page);
// Without what OutputStart tells. `base_model` is the base model's name.
v1::Start ToProto(const AnswerHead& head, const std::string& base_model);
google::protobuf::Timestamp ToProto(std::chrono::system_clock::time_point time);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_TO_PROTO_H_
