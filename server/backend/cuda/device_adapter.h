// An adapter in device memory: the CPU's packed form with its tables rewritten for kernels/cuda/plan.h.
#ifndef HYDRAD_SERVER_BACKEND_CUDA_DEVICE_ADAPTER_H_
#define HYDRAD_SERVER_BACKEND_CUDA_DEVICE_ADAPTER_H_

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cuda/plan.h"
#include "server/backend/adapter_weights.h"
#include "server/backend/cuda/adapter_pool.h"
#include "server/backend/cuda/device_ends.h"
#include "server/backend/cuda/uploader.h"
#include "server/backend/device_adapters.h"

namespace hydrad {

// Immutable once loaded, but for what Use notes. Its memory goes back to the pool, as AdapterPool::Piece
// says.
class CudaAdapter final : public DeviceAdapter {
 public:
  // Bytes that Load will take; 0 for weights that it refuses.
  static size_t Bytes(const AdapterWeights& weights, const AdapterShape& shape);

  // Errors of PackedAdapter::Pack, of the pool and of the device. Returns before the bytes are on the device:
  // see Use.
  static absl::StatusOr<std::unique_ptr<CudaAdapter>> Load(const AdapterWeights& weights,
                                                           const AdapterShape& shape, AdapterPool& pool,
                                                           Uploader& uploader);

  size_t bytes() const override { return memory_->bytes(); }
  std::span<const GatePlace> gate_places() const override { return places_; }

  int layers() const { return layers_; }
  // [layers, kProjectionGroups] in device memory.
  const cuda::LoraGroup* groups() const { return groups_; }

  // What it changes at the ends of the network.
  const DeviceEnds& ends() const { return ends_; }

  // The most that any layer's group of a kind takes, and lm_head's.
  struct Extents {
    std::array<int, kProjectionGroups> down_rows{};
    int head_down_rows = 0;
    int z_cols = 0;
  };
  const Extents& extents() const { return extents_; }

  // The routed members of a group.
  struct Picking {
    LoraGate gate{};  // of one of them
    int experts = 1;
    int64_t products = 0;  // of a row with their B
    int64_t ZeroProducts(int top_k) const;
  };

  // Of the products that a row takes with the B of a group of this kind, those with what its gates leave out,
  // where the request asks for `top_k` (0: nothing); of the layer where they are most. A threshold is taken
  // to leave out half.
  int64_t ZeroProducts(int kind, int top_k) const { return picking_[kind].ZeroProducts(top_k); }

  // What is launched on `stream` from now on finds the adapter uploaded. For the scheduler thread.
  absl::Status Use(cudaStream_t stream) const;

 private:
  CudaAdapter() = default;

  std::unique_ptr<AdapterPool::Piece> memory_;
  const cuda::LoraGroup* groups_ = nullptr;
  int layers_ = 0;
  DeviceEnds ends_;
  std::vector<GatePlace> places_;
  std::array<Picking, kProjectionGroups> picking_{};
  Extents extents_;
  CudaEvent uploaded_;
  mutable bool awaited_ = false;  // by the one compute stream
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CUDA_DEVICE_ADAPTER_H_
