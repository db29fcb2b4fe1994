// The daemon's look at its own listeners: a health check through the same door as everybody's, in plain text
// also where others speak TLS.
#ifndef HYDRAD_SERVER_RPC_LISTENER_PROBE_H_
#define HYDRAD_SERVER_RPC_LISTENER_PROBE_H_

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "server/base/clock.h"
#include "server/base/listen_socket.h"
#include "server/base/mutex.h"

namespace hydrad {

struct ProbeOptions {
  Duration interval = std::chrono::seconds(10);  // between two looks
  Duration limit = std::chrono::seconds(5);      // for an answer
  int failures = 2;                              // in a row, until a listener counts as not answering
};

// Thread-safe.
class ListenerProbe {
 public:
  struct Target {
    std::string name;
    const ListenSocket* socket;
    // Is told the place (PlaceOf) that the next look comes from, and "" when the look is over.
    std::function<void(const std::string& place)> expect;
  };
  // `told` hears after every look whether the listener answers, on the probe's thread.
  ListenerProbe(ProbeOptions options, std::vector<Target> targets,
                std::function<void(const std::string& name, bool answers)> told);
  ~ListenerProbe();

  // Whether all listeners answered when they were last looked at.
  bool all_answer() const;

 private:
  void Run();
  void Look(size_t target);

  const ProbeOptions options_;
  const std::vector<Target> targets_;
  const std::function<void(const std::string&, bool)> told_;
  std::vector<int> failed_;  // in a row, by target; owned by the thread
  mutable Mutex mu_;
  int silent_ ABSL_GUARDED_BY(mu_) = 0;  // listeners that do not answer
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_LISTENER_PROBE_H_
