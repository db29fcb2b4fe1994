#include "server/backend/device_adapters.h"

#include <algorithm>

namespace hydrad {

bool KnowsTokens(const DeviceAdapters& held, const Batch& batch, int vocab) {
  const auto within = [&](int begin, int end, int size) {
    return std::all_of(batch.tokens.begin() + begin, batch.tokens.begin() + end,
                       [size](int32_t token) { return token >= 0 && token < size; });
  };
  if (within(0, batch.rows(), vocab)) return true;  // traffic without such adapters looks no further
  int known = 0;                                    // rows before it are known
  for (const Batch::Run& run : batch.runs) {
    const DeviceAdapter* adapter = held.FindAdapter(run.adapter);
    if (adapter == nullptr || adapter->vocab() <= vocab || run.row_begin < known) continue;
    if (!within(known, run.row_begin, vocab) || !within(run.row_begin, run.row_end, adapter->vocab())) {
      return false;
    }
    known = run.row_end;
  }
  return within(known, batch.rows(), vocab);
}

}  // namespace hydrad
