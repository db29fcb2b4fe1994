// The two listeners: one for those who generate, one for those who run the daemon. Both answer health checks.
#ifndef HYDRAD_SERVER_RPC_SERVER_H_
#define HYDRAD_SERVER_RPC_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "server/base/clock.h"
#include "server/base/status.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/health.h"
#include "server/rpc/intake.h"
#include "server/rpc/message_queue.h"

namespace hydrad {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";
  std::string admin_listen = "127.0.0.1:0";  // "": no admin service
  bool allow_plaintext_public = false;       // bind addresses that other machines can reach
  bool reflection = false;                   // tell clients the services' descriptions
  int max_request_bytes = 4 << 20;           // of one message; larger ones are refused unread
  int max_streams_per_connection = 1024;
  size_t memory_quota = 256 << 20;  // of gRPC's own buffers, over all connections of a listener
  QueueBounds stream_bounds;        // of what one reader may leave unread
  HealthOptions health;
};

// gRPC is behind the .cc. Thread-safe.
class Server {
 public:
  // Binds and serves. `intake`, its rooms and `admins` must outlive the server. `tick` is called about twice
  // a second on the health thread, for whoever has a gauge to set. Errors name the address:
  // FAILED_PRECONDITION (plain text to strangers, see CheckExposure), UNAVAILABLE (cannot be bound).
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Intake& intake,
                                                       const Admission& admins, const ServerFacts& facts,
                                                       std::function<void()> tick);
  // As Shutdown(0).
  ~Server();

  // With the ports that were bound; "" without an admin listener.
  const std::string& address() const;
  const std::string& admin_address() const;

  // NOT_SERVING for every service that takes new work; calls are still served.
  void SetDraining();

  // Takes no more calls, gives the running ones `limit` to end, cancels the rest and waits for them. Calls
  // that wait for the scheduler end when it does: drain it first. Idempotent.
  void Shutdown(Duration limit);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_SERVER_H_
