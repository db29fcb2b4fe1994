// The log: spdlog behind two lines, so that every room writes `Log()->info("...", ...)`.
#ifndef HYDRAD_SERVER_BASE_LOG_H_
#define HYDRAD_SERVER_BASE_LOG_H_

#include <spdlog/spdlog.h>

#include <string>

namespace hydrad {

// The process's logger (stderr). Thread-safe. Never log prompt or generated text.
inline spdlog::logger* Log() { return spdlog::default_logger_raw(); }

// Level by name (trace, debug, info, warn, error); one line per record. Call once, before threads start.
void InitLog(const std::string& level);
// Another level from now on. Thread-safe.
void SetLogLevel(const std::string& level);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_LOG_H_
