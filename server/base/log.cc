#include "server/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace hydrad {

void InitLog(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("hydrad");
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

void SetLogLevel(const std::string& level) { Log()->set_level(spdlog::level::from_str(level)); }

}  // namespace hydrad
