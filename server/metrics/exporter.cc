#include "server/metrics/exporter.h"

#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <sstream>
#include <utility>

#include "server/base/status_macros.h"

namespace hydrad {
namespace {

std::string TextOf(const prometheus::Collectable& collectable) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, collectable.Collect());
  return out.str();
}

}  // namespace

Exporter::Exporter(ListenSocket socket, const Metrics& metrics)
    : server_(std::move(socket), "/metrics",
              [collectable = metrics.collectable()] { return TextOf(*collectable); }) {}

absl::StatusOr<std::unique_ptr<Exporter>> Exporter::Start(const std::string& address,
                                                          const Metrics& metrics) {
  ASSIGN_OR_RETURN(const ListenAddress parsed, ParseListenAddress(address));
  absl::StatusOr<ListenSocket> socket = ListenSocket::Open(parsed);
  if (!socket.ok()) return Annotate(socket.status(), "metrics");
  return std::unique_ptr<Exporter>(new Exporter(*std::move(socket), metrics));
}

}  // namespace hydrad
