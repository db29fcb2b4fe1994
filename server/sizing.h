// How large the model's working memory is made.
#ifndef HYDRAD_SERVER_SIZING_H_
#define HYDRAD_SERVER_SIZING_H_

#include <absl/status/statusor.h>

#include "server/config.h"
#include "server/model/model.h"

namespace hydrad {

// The most KV cache that is taken when nobody says how much, unless one full sequence needs more.
inline constexpr uint64_t kDefaultKvCacheMemory = 2ull << 30;

// The limits that `config` asks of a model. A pure function. `budgeted`: the device knows how much memory it
// may take (Backend::free_bytes), so that what is not asked for by bytes is bounded there and not here.
// FAILED_PRECONDITION when the context is longer than the model's, or when --kv-cache-memory cannot hold one
// sequence of it.
absl::StatusOr<ModelLimits> SizeModel(const Config& config, const ModelConfig& model, DType kv_type,
                                      bool budgeted);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SIZING_H_
