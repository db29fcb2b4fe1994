// An adapter in the layout of kernels/lora.h: per layer and group of projections, all that reads x stacked
// into one matrix, and every B transposed, so that both passes of the kernel stream memory.
#ifndef HYDRAD_SERVER_BACKEND_CPU_PACKED_ADAPTER_H_
#define HYDRAD_SERVER_BACKEND_CPU_PACKED_ADAPTER_H_

#include <absl/status/statusor.h>

#include <memory>
#include <span>

#include "kernels/lora.h"
#include "server/backend/adapter_weights.h"
#include "server/backend/cpu/aligned_buffer.h"
#include "server/backend/cpu/arena.h"
#include "server/backend/cpu/vocabulary.h"
#include "server/backend/device_adapters.h"

namespace hydrad {

// One block of memory holds the factors and the tables that point into them, so bytes(), which counts whole
// pages, is all there is.
// Ranks are stored as they are. Immutable after Pack; any thread may read.
template <class T>  // bf16 or float: what the factors and routers are converted to
class PackedAdapter : public DeviceAdapter {
 public:
  // Packs the changes to the ends of the network: PackVocabulary, or null to leave them to the caller.
  using PackEnds = const Vocabulary<T>* (*)(const AdapterWeights&, const AdapterShape&, Arena&);

  // Bytes that Pack will take; 0 for weights that Pack refuses.
  static size_t Bytes(const AdapterWeights& weights, const AdapterShape& shape, PackEnds ends = nullptr);

  // INVALID_ARGUMENT, naming layer and projection, for weights that do not fit `shape` or each other;
  // RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<PackedAdapter>> Pack(const AdapterWeights& weights,
                                                             const AdapterShape& shape,
                                                             PackEnds ends = nullptr);

  size_t bytes() const override { return memory_->bytes(); }
  // All of it: every pointer in its tables points in here, so that it can be moved elsewhere as one.
  std::span<const std::byte> memory() const {
    return {static_cast<const std::byte*>(memory_->data()), memory_->bytes()};
  }
  std::span<const GatePlace> gate_places() const override { return tables_.places; }
  int vocab() const override {
    return tables_.vocabulary == nullptr ? 0 : tables_.vocabulary->embedding.vocab;
  }

  int layers() const { return layers_; }
  // Without members where the adapter leaves the group alone.
  const LoraGroup<T>& group(int layer, ProjectionGroup group) const {
    return tables_.groups[Index(layer, group)];
  }
  // Where the group's gates begin in a row of a gate record.
  int gate_begin(int layer, ProjectionGroup group) const { return tables_.gate_begin[Index(layer, group)]; }

  // What it changes at the ends of the network; null if nothing, or left to the caller.
  const Vocabulary<T>* vocabulary() const { return tables_.vocabulary; }

  // What finds the rest; in the adapter's memory too.
  struct Tables {
    const LoraGroup<T>* groups;  // [layers, kProjectionGroups]
    const int32_t* gate_begin;   // [layers, kProjectionGroups]
    std::span<const GatePlace> places;
    const Vocabulary<T>* vocabulary;  // or null
  };

 private:
  PackedAdapter(std::unique_ptr<AlignedBuffer> memory, const Tables& tables, int layers)
      : memory_(std::move(memory)), tables_(tables), layers_(layers) {}
  static int Index(int layer, ProjectionGroup group) {
    return layer * kProjectionGroups + static_cast<int>(group);
  }

  std::unique_ptr<AlignedBuffer> memory_;
  Tables tables_;
  int layers_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_PACKED_ADAPTER_H_
