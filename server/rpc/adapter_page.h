// One page of a listing of adapters.
#ifndef HYDRAD_SERVER_RPC_ADAPTER_PAGE_H_
#define HYDRAD_SERVER_RPC_ADAPTER_PAGE_H_

#include <vector>

#include "hydrad/v1/admin.pb.h"
#include "server/adapters/store/adapter_store.h"

namespace hydrad {

inline constexpr int kDefaultPageSize = 1000;

// The page of `adapters` (by name) that `request` asks for. A page's token is the last name before it: names
// that come or go between two pages neither repeat nor hide others.
v1::ListAdaptersResponse PageOf(const std::vector<AdapterInfo>& adapters,
                                const v1::ListAdaptersRequest& request);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_RPC_ADAPTER_PAGE_H_
