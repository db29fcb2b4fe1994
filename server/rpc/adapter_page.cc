#include "server/rpc/adapter_page.h"

#include <algorithm>

#include "server/rpc/wire.h"

namespace hydrad {

v1::ListAdaptersResponse PageOf(const std::vector<AdapterInfo>& adapters,
                                const v1::ListAdaptersRequest& request) {
  const int size = request.page_size() > 0 ? request.page_size() : kDefaultPageSize;
  auto at = adapters.begin();
  if (!request.page_token().empty()) {
    at = std::upper_bound(adapters.begin(), adapters.end(), request.page_token(),
                          [](const std::string& name, const AdapterInfo& info) { return name < info.name; });
  }
  v1::ListAdaptersResponse page;
  for (; at != adapters.end() && page.adapters_size() < size; ++at) *page.add_adapters() = ToProto(*at);
  if (at != adapters.end()) page.set_next_page_token(page.adapters(page.adapters_size() - 1).name());
  return page;
}

}  // namespace hydrad
