// From the messages of hydrad.v1 to the calls of the front room. Field by field: nothing is checked and
// nothing is given a default here. Messages give their texts and lists away.
#ifndef HYDRAD_SERVER_RPC_FROM_PROTO_H_
#define HYDRAD_SERVER_RPC_FROM_PROTO_H_

#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"
#include "server/front/admin_calls.h"
#include "server/front/generate_call.h"

namespace hydrad {

GenerateCall FromProto(v1::GenerateRequest message);
GenerateCall FromProto(v1::ChatRequest message);
SamplingFields FromProto(const v1::Sampling& sampling);
StoppingFields FromProto(const v1::Stopping& stopping);
OutputFields FromProto(const v1::Output& output);
TokenizeCall FromProto(v1::TokenizeRequest message);
DetokenizeCall FromProto(const v1::DetokenizeRequest& message);

LoadCall FromProto(const v1::LoadAdapterRequest& message);
UnloadCall FromProto(const v1::UnloadAdapterRequest& message);
PinCall FromProto(const v1::PinAdapterRequest& message);
PinCall FromProto(const v1::UnpinAdapterRequest& message);
ApplyCall FromProto(const v1::ApplyAdaptersRequest& message);
GetCall FromProto(const v1::GetAdapterRequest& message);
ListCall FromProto(const v1::ListAdaptersRequest& message);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_FROM_PROTO_H_
