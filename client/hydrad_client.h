// The C++ client of a hydrad daemon. Requests and answers are the messages of proto/; what this adds is the
// connection, deadlines, the caller's key and errors that can be read (client/error_text.h). gRPC stays
// inside.
//
//   hydrad::Client client("127.0.0.1:8471");
//   hydrad::v1::GenerateRequest request;
//   request.set_text("Once upon a time");
//   const auto print = [](const hydrad::v1::GenerateResponse& answer) {
//     std::cout << answer.chunk().text() << std::flush;
//     return true;
//   };
//   absl::Status status = client.Generate(request, {.timeout = 30s}, print);
#ifndef HYDRAD_CLIENT_HYDRAD_CLIENT_H_
#define HYDRAD_CLIENT_HYDRAD_CLIENT_H_

#include <absl/status/status.h>
#include <absl/status/statusor.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hydrad/v1/admin.pb.h"
#include "hydrad/v1/inference.pb.h"

namespace hydrad {

// What holds for one call, whichever it is.
struct CallOptions {
  // The time that the whole call may take; it ends with DEADLINE_EXCEEDED when that has passed. 0: no limit.
  std::chrono::nanoseconds timeout{0};
  // A tenant's key, or an administrator's for Admin, sent as "authorization: Bearer KEY". Empty: none.
  std::string key{};
};

// The answer of grpc.health.v1. kUnknown stands for all that is neither of the others.
enum class Health { kUnknown, kServing, kNotServing };

// What a connection in TLS shows and trusts: texts in PEM, not paths.
struct TlsOptions {
  std::string ca{};           // who vouches for the server; "": the system's authorities
  std::string certificate{};  // the client's own, for servers that ask for one; "": none
  std::string key{};          // of that certificate
};

// A connection to one listener: "host:port", "unix:/path/to/socket" or any other gRPC name. It is made by the
// first call, made again when it breaks, and never shared with another Connection. Copies share it.
// Thread-safe.
class Connection {
 public:
  // Speaks plain text without `tls`; with it the server must show a certificate for the address's host.
  // Nothing is sent yet and no error can come: a wrong address or certificate shows as UNAVAILABLE of the
  // first call.
  explicit Connection(const std::string& address, const std::optional<TlsOptions>& tls = std::nullopt);
  // Asks grpc.health.v1 for the state of `service`; "" is the whole daemon. NOT_FOUND for a service that it
  // does not know.
  absl::StatusOr<Health> Check(const std::string& service, const CallOptions& options) const;

  struct Impl;  // for this library
  Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<Impl> impl_;
};

// A streamed call on its way. Copies name the same call; dropping them does not end it. Thread-safe.
class GenerateCall {
 public:
  void Cancel();  // it then ends CANCELLED, unless it has ended already

 private:
  friend class Client;
  std::weak_ptr<void> context_;
};

// Service Inference. Thread-safe. Errors of every call: what the server answered, with its details, or
// UNAVAILABLE when it cannot be reached.
class Client {
 public:
  explicit Client(const std::string& address) : Client(Connection(address)) {}
  explicit Client(const Connection& connection);
  // Cancels the calls that StartGenerate and StartChat began and waits until the last of their callbacks has
  // returned: not to be called from one of them.
  ~Client();

  // Hands each message of the stream to `on_message` on the calling thread, and returns when the stream has
  // ended: OK after the message that carries `end`. An `on_message` that answers false cancels the call,
  // which is then CANCELLED; it is not called again.
  using OnMessage = std::function<bool(const v1::GenerateResponse&)>;
  absl::Status Generate(const v1::GenerateRequest& request, const CallOptions& options,
                        const OnMessage& on_message) const;

  // As Generate, of a conversation. FAILED_PRECONDITION where neither the adapter nor the base model has a
  // chat template that can be used.
  absl::Status Chat(const v1::ChatRequest& request, const CallOptions& options,
                    const OnMessage& on_message) const;

  // As Generate and Chat, but these return at once. The callbacks come from gRPC's threads, one at a time for
  // a call, must not wait, and end with exactly one `on_done`; they may start further calls.
  struct Events {
    std::function<void(const v1::GenerateResponse&)> on_message;
    std::function<void(absl::Status)> on_done;
  };
  GenerateCall StartGenerate(const v1::GenerateRequest& request, const CallOptions& options,
                             Events events) const;
  GenerateCall StartChat(const v1::ChatRequest& request, const CallOptions& options, Events events) const;

  // As Generate and Chat, answered once with all that the stream would have told. They wait for it.
  absl::StatusOr<v1::GenerateResult> GenerateUnary(const v1::GenerateRequest& request,
                                                   const CallOptions& options) const;
  absl::StatusOr<v1::GenerateResult> ChatUnary(const v1::ChatRequest& request,
                                               const CallOptions& options) const;
  // Text to token ids and back, by the tokenizer of the base model.
  absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                                const CallOptions& options) const;
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                    const CallOptions& options) const;
  // The adapters that the caller's tenant may use.
  absl::StatusOr<v1::ListModelsResponse> ListModels(const CallOptions& options) const;

 private:
  struct Stub;
  template <class Request>
  GenerateCall Start(const Request& request, const CallOptions& options, Events events) const;

  std::unique_ptr<Stub> stub_;
};

// Service Admin, on the daemon's admin listener. Thread-safe. Errors as for Client.
class AdminClient {
 public:
  explicit AdminClient(const std::string& address) : AdminClient(Connection(address)) {}
  explicit AdminClient(const Connection& connection);
  ~AdminClient();

  // Creates or replaces an adapter, and returns when it can be used. After a failed replace the old
  // generation goes on serving. Loads take as long as the disk and the copy do: choose the timeout by the
  // adapter's size.
  absl::StatusOr<v1::Adapter> LoadAdapter(const v1::LoadAdapterRequest& request,
                                          const CallOptions& options) const;
  // NOT_FOUND for a name that is not known.
  absl::StatusOr<v1::Adapter> GetAdapter(const std::string& name, const CallOptions& options) const;
  // New requests for the adapter are refused at once; returns when the last running one has ended and the
  // memory is back. With `force` the running ones are ended.
  absl::StatusOr<v1::Adapter> UnloadAdapter(const v1::UnloadAdapterRequest& request,
                                            const CallOptions& options) const;
  // Brings the adapter to the device and keeps it there, until it is unpinned. RESOURCE_EXHAUSTED where it
  // does not fit beside the others that are pinned.
  absl::StatusOr<v1::Adapter> PinAdapter(const v1::PinAdapterRequest& request,
                                         const CallOptions& options) const;
  absl::StatusOr<v1::Adapter> UnpinAdapter(const v1::UnpinAdapterRequest& request,
                                           const CallOptions& options) const;
  // Makes the adapters those of the request: loads what is new or different, unloads what is not named. Where
  // anything is wrong with what is to be loaded, nothing is changed.
  absl::StatusOr<v1::ApplyAdaptersResponse> ApplyAdapters(const v1::ApplyAdaptersRequest& request,
                                                          const CallOptions& options) const;
  // Every adapter, by name: reads page after page. The timeout holds for each page.
  absl::StatusOr<std::vector<v1::Adapter>> ListAdapters(const CallOptions& options) const;
  // What runs there, and how much of its queue and memory is in use.
  absl::StatusOr<v1::ServerStatus> GetServerStatus(const CallOptions& options) const;

  // Hands over the present state of every adapter, then each change, until the server ends the stream, the
  // timeout passes or `on_event` answers false (CANCELLED). On the calling thread.
  absl::Status WatchAdapters(const CallOptions& options,
                             const std::function<bool(const v1::AdapterEvent&)>& on_event) const;

 private:
  struct Stub;
  std::unique_ptr<Stub> stub_;
};

}  // namespace hydrad

#endif  // HYDRAD_CLIENT_HYDRAD_CLIENT_H_
