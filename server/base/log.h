// The log, which is spdlog's: every room writes `Log()->info("...", ...)`.
#ifndef HYDRAD_SERVER_BASE_LOG_H_
#define HYDRAD_SERVER_BASE_LOG_H_

#include <spdlog/spdlog.h>

#include <string>

namespace hydrad {

// Returns the process's logger, which writes to stderr. Thread-safe. Prompts and generated text are never
// logged.
inline spdlog::logger* Log() { return spdlog::default_logger_raw(); }

// Sets the level by name (trace, debug, info, warn, error) and one line per record. Call once, before threads
// start.
void InitLog(const std::string& level);
// Changes the level. Thread-safe.
void SetLogLevel(const std::string& level);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_LOG_H_
