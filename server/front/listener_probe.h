// The daemon's look at its own listeners, through the same door as everybody's, in plain text also where
// others speak TLS.
#ifndef HYDRAD_SERVER_FRONT_LISTENER_PROBE_H_
#define HYDRAD_SERVER_FRONT_LISTENER_PROBE_H_

#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "server/base/clock.h"
#include "server/base/file_descriptor.h"
#include "server/base/listen_socket.h"
#include "server/base/mutex.h"
#include "server/front/own_look.h"

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
    OwnLook* own_look;
    // Whether an answer comes on this connection within the limit, whatever it tells.
    std::function<bool(FileDescriptor connection, Duration limit)> answers;
  };
  // `told` hears after every look whether the listener answers, on the probe's thread.
  ListenerProbe(ProbeOptions options, std::function<void(const std::string& name, bool answers)> told);
  // Stops it.
  ~ListenerProbe();

  // Looks at this one, too, from now on. What it points to must be there until Stop.
  void Add(Target target);
  // Looks at none any more, and leaves what all_answer says. Idempotent.
  void Stop();

  // Whether all listeners answered when they were last looked at.
  bool all_answer() const;

 private:
  struct Watched {
    Target target;
    int failed = 0;  // looks in a row; owned by the thread
  };

  void Run();
  Watched* Next(size_t index);
  void Look(Watched& watched);

  const ProbeOptions options_;
  const std::function<void(const std::string&, bool)> told_;
  mutable Mutex mu_;
  std::deque<Watched> watched_ ABSL_GUARDED_BY(mu_);  // each stays where it is
  int silent_ ABSL_GUARDED_BY(mu_) = 0;               // listeners that do not answer
  bool fresh_ ABSL_GUARDED_BY(mu_) = false;           // one has been added since the last round
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_LISTENER_PROBE_H_
