// The daemon's command: flags -> Config -> Daemon -> serve until a signal -> drain.
#include <fmt/core.h>

#include <csignal>
#include <cstdio>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "server/base/log.h"
#include "server/base/status.h"
#include "server/base/stderr_text.h"
#include "server/config.h"
#include "server/crash_report.h"
#include "server/daemon.h"
#include "server/preflight.h"
#include "server/signals.h"
#include "server/watchdog.h"
#include "server/where_is.h"

namespace hydrad {
namespace {

// What comes after the limits of a drain may take this long.
constexpr Duration kEndTime = std::chrono::seconds(4);
// Of a daemon whose device is lost: to be started again, perhaps on another.
constexpr int kDeviceLostExitCode = 3;

// Starts the daemon. The library tells as exceptions what the system refuses while rooms are built.
absl::Status Start(Daemon& daemon) {
  try {
    return daemon.Start();
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory is left (see ulimit -v, and the memory options)");
  } catch (const std::system_error& error) {
    return ResourceExhausted("the system gives no more threads (see ulimit -u): {}", error.what());
  }
}

int Run(const std::vector<std::string>& arguments, const CommandLine& line) {
  Signals signals;  // before any other thread
  InitLog(line.config.log_level);
  Log()->debug("effective configuration:\n{}", line.effective);
  Watchdog watchdog([] { return WhereIs(kSchedulerThread, kWhereIsLimit); });
  auto daemon = std::make_unique<Daemon>(line.config, [&signals] { signals.End(); });
  if (const absl::Status started = Start(*daemon); !started.ok()) {
    daemon.reset();  // what it had begun to log ends first, so that the reason is the last line
    Log()->error("cannot start: {}", std::string(started.message()));
    return 1;
  }
  signals.Arm();
  daemon->LogReady();
  int number = signals.AwaitNext();
  for (; number == SIGHUP; number = signals.AwaitNext()) daemon->Reload(arguments, line.effective);
  const absl::Status device = daemon->device_status();
  if (number != Signals::kOwnEnd) {
    Log()->info("signal {}: draining", number);
  } else {
    Log()->error("draining, to end with code {}", kDeviceLostExitCode);
  }
  watchdog.Arm(FromSeconds(line.config.lame_duck + line.config.drain_timeout) + kEndTime);
  daemon->Drain(signals, watchdog);
  watchdog.Enter("end of the rooms");
  daemon.reset();
  return device.ok() ? 0 : kDeviceLostExitCode;
}

int Main(const std::vector<std::string>& arguments) {
  const CommandLine line = ParseConfig(arguments);
  if (line.exit) {
    std::fputs(line.exit->text.c_str(), line.exit->code == 0 ? stdout : stderr);
    return line.exit->code;
  }
  if (line.print_config) {
    std::fputs(line.effective.c_str(), stdout);
    return 0;
  }
  if (!line.check_config) return Run(arguments, line);
  if (const absl::Status good = CheckConfig(line.config); !good.ok()) {
    fmt::print(stderr, "hydrad: {}\n", std::string(good.message()));
    return 1;
  }
  std::puts("configuration ok");
  return 0;
}

}  // namespace
}  // namespace hydrad

int main(int argc, char** argv) {
  hydrad::InstallCrashReport();
  // Whatever the system refuses before there is a log.
  try {
    return hydrad::Main({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    hydrad::PutToStderr("hydrad: cannot start: ");
    hydrad::PutToStderr(error.what());
    hydrad::PutToStderr(" (see ulimit -u and ulimit -v)\n");
    return 1;
  }
}
