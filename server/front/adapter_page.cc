#include "server/front/adapter_page.h"

#include <algorithm>

namespace hydrad {

AdapterPage PageOf(const std::vector<AdapterInfo>& adapters, const ListCall& call) {
  const auto size = static_cast<size_t>(call.page_size > 0 ? call.page_size : kDefaultPageSize);
  auto at = adapters.begin();
  if (!call.page_token.empty()) {
    at = std::upper_bound(adapters.begin(), adapters.end(), call.page_token,
                          [](const std::string& name, const AdapterInfo& info) { return name < info.name; });
  }
  AdapterPage page;
  for (; at != adapters.end() && page.adapters.size() < size; ++at) page.adapters.push_back(*at);
  if (at != adapters.end()) page.next = page.adapters.back().name;
  return page;
}

}  // namespace hydrad
