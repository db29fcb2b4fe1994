// Projections that read the same input, packed as kernels/lora.h wants them.
#ifndef HYDRAD_SERVER_BACKEND_CPU_PACK_GROUP_H_
#define HYDRAD_SERVER_BACKEND_CPU_PACK_GROUP_H_

#include <span>

#include "kernels/lora.h"
#include "server/backend/adapter_weights.h"
#include "server/backend/cpu/arena.h"

namespace hydrad {

// Where a projection stands: its group (none outside of the layers), its columns among the group's outputs,
// and the width of its input.
struct Place {
  ProjectionGroup group;
  int out_begin, out, in;
};
Place PlaceOf(Projection projection, const AdapterShape& shape);

inline bool Routed(const ProjectionWeights& p) { return p.gate.rule != GateRule::kNone; }

// Lays the projections into `arena`, in their order, and fills in `group` (null while measuring). REQUIRES:
// they fit `shape` and each other.
template <class T>
void PackGroup(std::span<const ProjectionWeights* const> projections, const AdapterShape& shape,
               LoraGroup<T>* group, Arena& arena);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BACKEND_CPU_PACK_GROUP_H_
