#include "server/rpc/protobuf_log.h"

#include <fmt/core.h>
#include <google/protobuf/stubs/logging.h>

#include <mutex>
#include <optional>
#include <string>

#include "server/base/log.h"
#include "server/base/rate_limit.h"

namespace hydrad {
namespace {

void Record(google::protobuf::LogLevel level, const char*, int, const std::string& message) {
  static RateLimit gate(kProtobufRecordsPerSecond, SteadyClock());
  if (level == google::protobuf::LOGLEVEL_FATAL) {  // protobuf aborts after this
    Log()->critical("protobuf: {}", message);
    return;
  }
  const std::optional<int64_t> suppressed = gate.Pass();
  if (!suppressed) return;
  Log()->warn("protobuf: {}{}", message,
              *suppressed > 0 ? fmt::format(" ({} more before it)", *suppressed) : "");
}

}  // namespace

void LogForProtobuf() {
  static std::once_flag once;
  std::call_once(once, [] { google::protobuf::SetLogHandler(Record); });
}

}  // namespace hydrad
