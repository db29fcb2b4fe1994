#include "server/rpc/server_status.h"

#include "server/rpc/to_proto.h"

namespace hydrad {

v1::ServerStatus ServerStatusOf(const Intake& intake, const ServerFacts& facts) {
  const Rooms& rooms = intake.rooms();
  v1::ServerStatus out;
  const SchedulerStatus status = rooms.scheduler.status();
  out.set_version(facts.version);
  out.set_base_model(facts.base_model);
  out.set_device(facts.device);
  out.set_weight_type(facts.weight_type);
  *out.mutable_started() = ToProto(facts.started);
  out.set_requests_running(status.running);
  out.set_requests_waiting(status.waiting);
  out.set_kv_blocks_total(status.kv_blocks_total);
  out.set_kv_blocks_free(status.kv_blocks_free);
  out.set_adapter_bytes_used(rooms.adapters.device_bytes_used());
  out.set_adapter_bytes_budget(rooms.adapters.device_bytes_budget());
  out.set_adapter_host_bytes_used(rooms.adapters.host_bytes_used());
  out.set_adapter_host_bytes_budget(rooms.adapters.host_bytes_budget());
  out.set_adapters(static_cast<int>(rooms.adapters.List().size()));
  out.set_draining(status.draining || intake.closed());
  out.set_max_context(rooms.limits.max_context);
  return out;
}

}  // namespace hydrad
