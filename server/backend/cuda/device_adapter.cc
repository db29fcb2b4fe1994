#include "server/backend/cuda/device_adapter.h"

#include <algorithm>

#include "server/backend/cpu/packed_adapter.h"
#include "server/backend/cuda/mirror.h"
#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

using Packed = PackedAdapter<bf16>;

// Rewrites the tables of a packed adapter for the device: behind the packed bytes at `base` come the groups,
// then the members.
class Tables {
 public:
  Tables(const Packed& packed, size_t members, std::byte* base)
      : packed_(packed),
        base_(base),
        device_(packed.memory(), base),
        groups_begin_(AdapterPool::Rounded(packed.memory().size())),
        groups_(static_cast<size_t>(packed.layers()) * kProjectionGroups),
        members_begin_(groups_begin_ + groups_.size() * sizeof(cuda::LoraGroup)) {
    members_.reserve(members);
    for (int layer = 0; layer < packed.layers(); ++layer) {
      for (int kind = 0; kind < kProjectionGroups; ++kind) AddGroup(layer, kind);
    }
    HYDRAD_CHECK(members_.size() == members);
  }

  static size_t Bytes(size_t packed_bytes, int layers, size_t members) {
    return AdapterPool::Rounded(packed_bytes) +
           static_cast<size_t>(layers) * kProjectionGroups * sizeof(cuda::LoraGroup) +
           members * sizeof(cuda::LoraMember);
  }

  absl::Status Upload(Uploader& uploader) const {
    RETURN_IF_ERROR(uploader.Copy(base_, packed_.memory().data(), packed_.memory().size()));
    RETURN_IF_ERROR(uploader.Copy(base_ + groups_begin_, reinterpret_cast<const std::byte*>(groups_.data()),
                                  groups_.size() * sizeof(cuda::LoraGroup)));
    return uploader.Copy(base_ + members_begin_, reinterpret_cast<const std::byte*>(members_.data()),
                         members_.size() * sizeof(cuda::LoraMember));
  }

  const cuda::LoraGroup* groups() const {
    return reinterpret_cast<const cuda::LoraGroup*>(base_ + groups_begin_);
  }
  const CudaAdapter::Extents& extents() const { return extents_; }
  const std::array<CudaAdapter::Picking, kProjectionGroups>& picking() const { return picking_; }

 private:
  void AddGroup(int layer, int kind) {
    const LoraGroup<bf16>& group = packed_.group(layer, static_cast<ProjectionGroup>(kind));
    cuda::LoraGroup& out = groups_[static_cast<size_t>(layer) * kProjectionGroups + kind];
    out = {};
    if (group.members.empty()) return;
    const auto* members = reinterpret_cast<const cuda::LoraMember*>(base_ + members_begin_) + members_.size();
    int32_t z_cols = 0, gate = packed_.gate_begin(layer, static_cast<ProjectionGroup>(kind));
    CudaAdapter::Picking picking;
    for (const LoraMember<bf16>& m : group.members) {
      members_.push_back(device_.Member(m, z_cols, gate));
      z_cols = EndInZ(m, z_cols);
      if (m.gate.rule == GateRule::kNone) continue;
      gate += m.experts;
      picking = {m.gate, m.experts, picking.products + int64_t{m.rank_begin[m.experts]} * m.out};
    }
    if (picking.products > picking_[kind].products) picking_[kind] = picking;
    out = {device_(group.down),
           group.down_rows,
           group.in,
           members,
           static_cast<int32_t>(group.members.size()),
           z_cols};
    extents_.down_rows[kind] = std::max(extents_.down_rows[kind], group.down_rows);
    extents_.z_cols = std::max(extents_.z_cols, z_cols);
  }

  const Packed& packed_;
  std::byte* const base_;
  const Mirror device_;
  const size_t groups_begin_;
  std::vector<cuda::LoraGroup> groups_;
  const size_t members_begin_;
  std::vector<cuda::LoraMember> members_;
  CudaAdapter::Extents extents_;
  std::array<CudaAdapter::Picking, kProjectionGroups> picking_{};
};

// Of the layers.
size_t MembersOf(const AdapterWeights& weights) {
  return static_cast<size_t>(std::ranges::count_if(
      weights.projections, [](const auto& p) { return p.projection < Projection::kEmbedding; }));
}

// Behind the tables, whose bytes are rounded up, come the ends of the network.
size_t EndsBegin(size_t packed_bytes, const AdapterWeights& weights, const AdapterShape& shape) {
  return AdapterPool::Rounded(Tables::Bytes(packed_bytes, shape.layers, MembersOf(weights)));
}

}  // namespace

size_t CudaAdapter::Bytes(const AdapterWeights& weights, const AdapterShape& shape) {
  const size_t packed = Packed::Bytes(weights, shape);
  if (packed == 0) return 0;
  return AdapterPool::Rounded(EndsBegin(packed, weights, shape) + EndsBytes(weights, shape));
}

absl::StatusOr<std::unique_ptr<CudaAdapter>> CudaAdapter::Load(const AdapterWeights& weights,
                                                               const AdapterShape& shape, AdapterPool& pool,
                                                               Uploader& uploader) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Packed> packed, Packed::Pack(weights, shape));
  std::unique_ptr<CudaAdapter> adapter(new CudaAdapter);
  const size_t ends = EndsBegin(packed->memory().size(), weights, shape);
  ASSIGN_OR_RETURN(adapter->memory_, pool.Take(ends + EndsBytes(weights, shape)));
  const Tables tables(*packed, MembersOf(weights), adapter->memory_->data());
  RETURN_IF_ERROR(tables.Upload(uploader));
  ASSIGN_OR_RETURN(adapter->ends_, UploadEnds(weights, shape, adapter->memory_->data() + ends, uploader));
  adapter->groups_ = tables.groups();
  adapter->layers_ = packed->layers();
  adapter->places_.assign(packed->gate_places().begin(), packed->gate_places().end());
  adapter->extents_ = tables.extents();
  adapter->picking_ = tables.picking();
  adapter->extents_.head_down_rows = adapter->ends_.head_down_rows;
  adapter->extents_.z_cols = std::max(adapter->extents_.z_cols, adapter->ends_.head_z_cols);
  ASSIGN_OR_RETURN(adapter->uploaded_, MakeEvent());
  RETURN_IF_ERROR(uploader.Mark(adapter->uploaded_.get()));
  return adapter;
}

int64_t CudaAdapter::Picking::ZeroProducts(int top_k) const {
  const LoraGate used = WithTopK(gate, top_k, experts);
  if (HasThreshold(used.rule)) return products / 2;
  return used.rule == GateRule::kTopK ? products * (experts - used.top_k) / experts : 0;
}

absl::Status CudaAdapter::Use(cudaStream_t stream) const {
  if (awaited_) return absl::OkStatus();
  RETURN_IF_ERROR(CudaStatus(cudaStreamWaitEvent(stream, uploaded_.get(), 0), "awaiting an adapter"));
  awaited_ = true;
  return absl::OkStatus();
}

}  // namespace hydrad
