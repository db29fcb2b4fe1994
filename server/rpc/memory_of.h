// How much memory messages take, which is several times what they take on the wire.
#ifndef HYDRAD_SERVER_RPC_MEMORY_OF_H_
#define HYDRAD_SERVER_RPC_MEMORY_OF_H_

#include <google/protobuf/message.h>

#include "hydrad/v1/inference.pb.h"

namespace hydrad {

// At least what the message and all it holds take, with the allocator's part. The first asks protobuf, which
// looks at every field by its description; the others are for what is sent with every token, or holds one
// thing for every token of a prompt.
size_t MemoryOf(const google::protobuf::Message& message);
size_t MemoryOf(const v1::GenerateResponse& message);
size_t MemoryOf(const v1::Start& start);
size_t MemoryOf(const v1::Chunk& chunk);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_MEMORY_OF_H_
