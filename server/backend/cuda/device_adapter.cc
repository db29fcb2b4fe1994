#include "server/backend/cuda/device_adapter.h"

#include <algorithm>

#include "server/backend/cpu/packed_adapter.h"

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

  void Upload(Uploader& uploader) const {
    uploader.Copy(base_, packed_.memory().data(), packed_.memory().size());
    uploader.Copy(base_ + groups_begin_, reinterpret_cast<const std::byte*>(groups_.data()),
                  groups_.size() * sizeof(cuda::LoraGroup));
    uploader.Copy(base_ + members_begin_, reinterpret_cast<const std::byte*>(members_.data()),
                  members_.size() * sizeof(cuda::LoraMember));
  }

  const cuda::LoraGroup* groups() const {
    return reinterpret_cast<const cuda::LoraGroup*>(base_ + groups_begin_);
  }
  const CudaAdapter::Extents& extents() const { return extents_; }

 private:
  void AddGroup(int layer, int kind) {
    const LoraGroup<bf16>& group = packed_.group(layer, static_cast<ProjectionGroup>(kind));
    cuda::LoraGroup& out = groups_[static_cast<size_t>(layer) * kProjectionGroups + kind];
    out = {};
    if (group.members.empty()) return;
    const auto* members = reinterpret_cast<const cuda::LoraMember*>(base_ + members_begin_) + members_.size();
    int32_t z_cols = 0, gate = packed_.gate_begin(layer, static_cast<ProjectionGroup>(kind));
    for (const LoraMember<bf16>& m : group.members) {
      members_.push_back(Member(m, z_cols, gate));
      z_cols = (z_cols + m.rank_begin[m.experts] + 7) / 8 * 8;
      if (m.gate.rule != GateRule::kNone) gate += m.experts;
    }
    out = {OnDevice(group.down),
           group.down_rows,
           group.in,
           members,
           static_cast<int32_t>(group.members.size()),
           z_cols};
    extents_.down_rows[kind] = std::max(extents_.down_rows[kind], group.down_rows);
    extents_.z_cols = std::max(extents_.z_cols, z_cols);
  }

  cuda::LoraMember Member(const LoraMember<bf16>& m, int32_t z_begin, int32_t gate_begin) const {
    return {.down_begin = m.down_begin,
            .out_begin = m.out_begin,
            .out = m.out,
            .experts = m.experts,
            .z_begin = z_begin,
            .gate_begin = gate_begin,
            .rank_begin = OnDevice(m.rank_begin),
            .gate = m.gate,
            .shared_a = m.shared_a,
            .scale = OnDevice(m.scale),
            .router_bias = OnDevice(m.router_bias),
            .up = OnDevice(m.up),
            .out_scale = OnDevice(m.out_scale),
            .out_bias = OnDevice(m.out_bias)};
  }

  // Where the device has what the packed adapter points to.
  template <class V>
  const V* OnDevice(const V* host) const {
    if (host == nullptr) return nullptr;
    const auto offset = reinterpret_cast<const std::byte*>(host) - packed_.memory().data();
    HYDRAD_CHECK(offset >= 0 && static_cast<size_t>(offset) < packed_.memory().size());
    return reinterpret_cast<const V*>(base_ + offset);
  }

  const Packed& packed_;
  std::byte* const base_;
  const size_t groups_begin_;
  std::vector<cuda::LoraGroup> groups_;
  const size_t members_begin_;
  std::vector<cuda::LoraMember> members_;
  CudaAdapter::Extents extents_;
};

}  // namespace

size_t CudaAdapter::Bytes(const AdapterWeights& weights, const AdapterShape& shape) {
  const size_t packed = Packed::Bytes(weights, shape);
  return packed == 0 ? 0
                     : AdapterPool::Rounded(Tables::Bytes(packed, shape.layers, weights.projections.size()));
}

absl::StatusOr<std::unique_ptr<CudaAdapter>> CudaAdapter::Load(const AdapterWeights& weights,
                                                               const AdapterShape& shape, AdapterPool& pool,
                                                               Uploader& uploader) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Packed> packed, Packed::Pack(weights, shape));
  std::unique_ptr<CudaAdapter> adapter(new CudaAdapter);
  const size_t members = weights.projections.size();
  ASSIGN_OR_RETURN(adapter->memory_,
                   pool.Take(Tables::Bytes(packed->memory().size(), shape.layers, members)));
  const Tables tables(*packed, members, adapter->memory_->data());
  tables.Upload(uploader);
  adapter->groups_ = tables.groups();
  adapter->layers_ = packed->layers();
  adapter->places_.assign(packed->gate_places().begin(), packed->gate_places().end());
  adapter->extents_ = tables.extents();
  adapter->uploaded_ = MakeEvent();
  uploader.Mark(adapter->uploaded_.get());
  return adapter;
}

void CudaAdapter::Use(cudaStream_t stream) const {
  if (awaited_) return;
  HYDRAD_CUDA_CHECK(cudaStreamWaitEvent(stream, uploaded_.get(), 0));
  awaited_ = true;
}

}  // namespace hydrad
