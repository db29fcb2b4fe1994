// What the daemon asks its own listeners of gRPC.
#ifndef HYDRAD_SERVER_RPC_HEALTH_QUESTION_H_
#define HYDRAD_SERVER_RPC_HEALTH_QUESTION_H_

#include "server/base/clock.h"
#include "server/base/file_descriptor.h"

namespace hydrad {

// Whether the server at the other end tells its health within the limit, whatever it is.
bool AnswersHealth(FileDescriptor connection, Duration limit);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_HEALTH_QUESTION_H_
