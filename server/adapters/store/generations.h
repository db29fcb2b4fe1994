// The generations of adapters on the device: which of them requests hold, where they are, and when they go.
#ifndef HYDRAD_SERVER_ADAPTERS_STORE_GENERATIONS_H_
#define HYDRAD_SERVER_ADAPTERS_STORE_GENERATIONS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "server/adapters/handle.h"  // AdapterGeneration
#include "server/adapters/info.h"
#include "server/adapters/store/catalogue.h"
#include "server/adapters/store/residency.h"
#include "server/base/clock.h"

namespace hydrad {

// Stands between the catalogue, which knows names, and the residency, which knows components: a generation is
// on the device when all its components are, and an entry tells what its serving generation's components
// take.
//
// Not thread-safe: the store calls it under its lock.
class Generations {
 public:
  using EntryPtr = Catalogue::EntryPtr;

  // `must_be_tried`: requests run on a generation only when it has been tried on the device. `layers` are the
  // base model's. The rest must outlive this.
  Generations(Catalogue& catalogue, Residency& residency, const Clock& clock, int layers, bool must_be_tried)
      : catalogue_(catalogue),
        residency_(residency),
        clock_(clock),
        layers_(layers),
        must_be_tried_(must_be_tried) {}

  // Keeps a generation on the device for one request (or trial) more, and gives that up again. The first
  // holder's Hold makes what all of them share. REQUIRES: it is on the device; of Release: a Hold.
  std::shared_ptr<const AdapterGeneration> Hold(const std::string& name, Generation& generation);
  void Release(Generation& generation);
  // What requests would share that held `copies`, the components of a generation on the device.
  std::shared_ptr<const AdapterGeneration> Assemble(const std::string& name, uint64_t number,
                                                    const std::vector<Residency::DeviceCopy>& copies) const;
  // `generation` does not serve any more: its components go as soon as nobody holds it.
  void Retire(Generation& generation);

  // A trial of what serves `entry` begins: the generation, which is held until EndTrial. Null when it needs
  // none: it has been tried, or is being tried, or is not on the device. REQUIRES: something serves.
  std::shared_ptr<Generation> BeginTrial(const EntryPtr& entry);
  void EndTrial(Generation& generation, bool worked);

  // The lowest of its components' tiers.
  Tier TierOf(const Generation& generation) const;
  bool OnDevice(const std::vector<ComponentId>& components) const;
  // Whether requests may be bound to it: it is on the device and, if that is asked for, has been tried.
  bool MayRun(const Generation& generation) const;
  // What the serving generation takes of the device; 0 for what has not been read since the start.
  uint64_t DeviceBytesOf(const AdapterEntry& entry) const;

  // Brings entries up to what components have been moved since the last call: what they take, their tier, and
  // whether requests may be bound to them. Reports each move as an event.
  void NoteMoves();

 private:
  void DropIfUnused(const Generation& generation);
  void NoteMove(AdapterEntry& entry, bool evicted);

  Catalogue& catalogue_;
  Residency& residency_;
  const Clock& clock_;
  const int layers_;
  const bool must_be_tried_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_STORE_GENERATIONS_H_
