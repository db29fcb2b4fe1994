// One page of a listing of adapters.
#ifndef HYDRAD_SERVER_FRONT_ADAPTER_PAGE_H_
#define HYDRAD_SERVER_FRONT_ADAPTER_PAGE_H_

#include <string>
#include <vector>

#include "server/adapters/info.h"
#include "server/front/admin_calls.h"

namespace hydrad {

inline constexpr int kDefaultPageSize = 1000;

struct AdapterPage {
  std::vector<AdapterInfo> adapters;
  std::string next;  // the token of the next page; "": this is the last one
};

// The page of `adapters` (by name) that `call` asks for. A page's token is the last name before it: names
// that come or go between two pages neither repeat nor hide others.
AdapterPage PageOf(const std::vector<AdapterInfo>& adapters, const ListCall& call);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_FRONT_ADAPTER_PAGE_H_
