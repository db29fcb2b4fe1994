#include "server/adapters/store/adapter_on_device.h"

#include <utility>

namespace hydrad {
namespace {

using Copy = std::shared_ptr<const AdapterOnDevice>;

uint64_t RowBytes(const MoaRouters& routers, const Backend& backend) {
  uint64_t bytes = 0;
  for (const MoaRouters::Expert& expert : routers.experts) bytes += std::span(expert.row).size_bytes();
  return backend.can_route() ? bytes : 0;
}

absl::Status CopyRows(const MoaRouters& routers, Backend& backend, AdapterOnDevice* copy) {
  copy->routers.emplace(MoaRouters{{}, routers.pool, routers.decision});
  for (const MoaRouters::Expert& expert : routers.experts) {
    std::shared_ptr<const Buffer>& row = copy->rows.emplace_back();
    copy->routers->experts.push_back({expert.name, {}, expert.bias});
    if (!backend.can_route() || expert.row.empty()) continue;
    ASSIGN_OR_RETURN(row, backend.LoadVector(expert.row));
    if (row->bytes() == std::span(expert.row).size_bytes()) continue;
    return Internal("expert '{}': a row took {} bytes of the device where {} were reserved", expert.name,
                    row->bytes(), std::span(expert.row).size_bytes());
  }
  return absl::OkStatus();
}

}  // namespace

uint64_t DeviceBytes(const AdapterPiece& piece, const Backend& backend, const AdapterShape& shape) {
  return piece.routers ? RowBytes(*piece.routers, backend) : backend.AdapterBytes(piece.weights, shape);
}

absl::StatusOr<Copy> CopyToDevice(const AdapterPiece& piece, Backend& backend, const AdapterShape& shape) {
  auto copy = std::make_shared<AdapterOnDevice>();
  if (piece.routers) {
    RETURN_IF_ERROR(CopyRows(*piece.routers, backend, copy.get()));
    return Copy(std::move(copy));
  }
  copy->traits = piece.traits;
  copy->invocation = piece.invocation;
  const uint64_t reserved = DeviceBytes(piece, backend, shape);
  ASSIGN_OR_RETURN(copy->device, backend.LoadAdapter(piece.weights, shape));
  if (copy->device->bytes() == reserved) return Copy(std::move(copy));
  return Internal("took {} bytes of the device where {} were reserved", copy->device->bytes(), reserved);
}

std::shared_ptr<const Mixture> MakeMixture(std::span<const Copy> pieces, int layers) {
  const AdapterOnDevice& routers = *pieces.front();
  std::vector<Mixture::Expert> experts;
  for (size_t e = 0; e < routers.rows.size(); ++e) {
    const MoaRouters::Expert& expert = routers.routers->experts[e];
    experts.push_back(std::make_shared<const DeviceExpert>(
        DeviceExpert{expert.name, pieces[e + 1]->device, routers.rows[e], expert.bias}));
  }
  return std::make_shared<const Mixture>(std::move(experts), layers, routers.routers->pool,
                                         routers.routers->decision);
}

}  // namespace hydrad
