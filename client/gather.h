// A stream of Generate, put together: what the stream of GenerateResponse says, as the GenerateResult that
// the unary call would have answered.
#ifndef HYDRAD_CLIENT_GATHER_H_
#define HYDRAD_CLIENT_GATHER_H_

#include "hydrad/v1/inference.pb.h"

namespace hydrad {

// Adds one message of the stream to `result`, which starts empty. Choices stand at their index; texts, token
// ids, log-probabilities and calls of functions are appended, the finish reason and the stop string replaced.
void Gather(const v1::GenerateResponse& message, v1::GenerateResult& result);

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_GATHER_H_
