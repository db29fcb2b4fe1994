// The two listeners: one for those who generate, one for those who run the daemon. Both answer health checks.
#ifndef HYDRAD_SERVER_RPC_SERVER_H_
#define HYDRAD_SERVER_RPC_SERVER_H_

#include <absl/status/statusor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/base/certificates.h"
#include "server/base/clock.h"
#include "server/base/listen_socket.h"
#include "server/front/connection_book.h"
#include "server/front/health.h"
#include "server/front/intake.h"
#include "server/front/listener_probe.h"
#include "server/front/text_pool.h"
#include "server/front/unread_output.h"
#include "server/rpc/admin_service.h"

namespace hydrad {

struct ServerOptions {
  std::string listen = "127.0.0.1:0";
  std::string admin_listen = "127.0.0.1:0";         // "": no admin service
  const CertificateHolder* certificates = nullptr;  // of both listeners, which speak TLS; null: plain text
  bool allow_plaintext_public = false;  // bind addresses that other machines can reach, in plain text
  bool reflection = false;              // clients are told the services' descriptions
  int max_request_bytes = 4 << 20;      // of one message; larger ones are refused unread
  int max_streams_per_connection = 1024;
  size_t memory_quota = 256 << 20;  // of gRPC's own buffers, over all connections of a listener
  UnreadBounds unread;              // of what readers may leave unread
  TextPoolOptions texts;            // of the threads that read long messages
  ConnectionLimits connections{};   // of the inference listener
  ConnectionLimits admin_connections{.total = 128, .per_peer = 64};
  Duration silence = std::chrono::seconds(20);  // that a connection may take until it speaks HTTP/2 or TLS
  HealthOptions health;
  ProbeOptions probe;
};

// Sockets that are bound and listen: clients that connect wait there until the server starts.
struct ServerSockets {
  ListenSocket inference;
  std::optional<ListenSocket> admin;
};

// The header needs no gRPC. Thread-safe.
class Server {
 public:
  // Takes the addresses, so that nobody else can. Errors name the address: FAILED_PRECONDITION (plain text to
  // strangers, see CheckExposure), UNAVAILABLE (cannot be bound), INVALID_ARGUMENT (is none).
  static absl::StatusOr<ServerSockets> Bind(const ServerOptions& options);

  // Serves on `sockets`, or on what Bind gives. `intake`, its rooms and `admins` must outlive the server.
  // So must what `options` points to. `tick` is called about twice a second on the health thread, for whoever
  // has a gauge to set. Errors are Bind's.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Intake& intake,
                                                       const Admission& admins, const ServerFacts& facts,
                                                       std::function<void()> tick,
                                                       std::optional<ServerSockets> sockets = std::nullopt);
  // Does what Shutdown(0) does.
  ~Server();

  // The addresses with the ports that were bound; "" without an admin listener.
  const std::string& address() const;
  const std::string& admin_address() const;

  // What other front ends share with this one; all of it goes with the server. Shutdown ends the health.
  Health health() const;
  UnreadOutput& unread();
  UnreadOutput& admin_unread();
  const AdapterAdmin& adapters() const;
  TextPool& texts();

  // The health is also whether this listener of another front end answers. What the target points to must be
  // there until StopLooking, which ends the looks at every listener, as Shutdown does.
  void LookAt(ListenerProbe::Target target);
  void StopLooking();

  // Health checks say NOT_SERVING from now on for every service that takes new work; calls are still served.
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
