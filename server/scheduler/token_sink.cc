#include "server/scheduler/token_sink.h"

namespace hydrad {

const char* Name(FinishReason reason) { return reason == FinishReason::kLength ? "length" : "stop"; }

}  // namespace hydrad
