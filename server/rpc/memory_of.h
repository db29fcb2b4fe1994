// How much memory messages take, which is several times what they take on the wire.
#ifndef HYDRAD_SERVER_RPC_MEMORY_OF_H_
#define HYDRAD_SERVER_RPC_MEMORY_OF_H_

#include <google/protobuf/message.h>

#include "hydrad/v1/inference.pb.h"

// Beside the messages, so that a MessageQueue finds it.
namespace hydrad::v1 {

// Returns at least what the message and all it holds take, with the allocator's part. The first asks
// protobuf, which looks at every field by its description and is slow; the others are for messages that are
// sent with every token, or that hold one thing for every token of a prompt.
size_t MemoryOf(const google::protobuf::Message& message);
size_t MemoryOf(const GenerateResponse& message);
size_t MemoryOf(const Start& start);
size_t MemoryOf(const Chunk& chunk);

}  // namespace hydrad::v1

#endif  // HYDRAD_SERVER_RPC_MEMORY_OF_H_
