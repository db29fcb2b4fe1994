// Between the messages of hydrad.v1 and the program's own types. Only here are the two seen side by side.
#ifndef HYDRAD_SERVER_RPC_WIRE_H_
#define HYDRAD_SERVER_RPC_WIRE_H_

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"
#include "server/adapters/store/adapter_store.h"
#include "server/adapters/store/apply.h"
#include "server/scheduler/request.h"
#include "server/scheduler/token_sink.h"

namespace hydrad {

// Unset fields take the defaults of the .proto. REQUIRES: validated.
SamplingParams FromProto(const v1::Sampling& sampling);
OutputOptions FromProto(const v1::Output& output);
// All but max_tokens, whose default depends on the prompt.
Stopping FromProto(const v1::Stopping& stopping);

// What a token writes (Tokenizer::TokenBytes). Null: nobody tells, and log-probabilities come without it.
using TokenBytes = std::function<std::string(int32_t token)>;
// `token_ids`: send the ids beside the text.
v1::Chunk ToProto(OutputPiece piece, bool token_ids, const TokenBytes& token_bytes);
v1::Logprob ToProto(const Sampled& sampled, const TokenBytes& token_bytes);
v1::Usage ToProto(const Usage& usage);
v1::Routing ToProto(const AdapterRouting& routing);
v1::ExpertRoute ToProto(const RouteTaken& route);
// REQUIRES: not unspecified.
Decision FromProto(v1::Decision decision);
v1::Adapter ToProto(const AdapterInfo& info);
v1::ApplyAdaptersResponse ToProto(const std::vector<AppliedChange>& changes);
google::protobuf::Timestamp ToProto(std::chrono::system_clock::time_point time);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_WIRE_H_
