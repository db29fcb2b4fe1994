// How much of its rate a tenant has left, as clients of OpenAI read it.
#ifndef HYDRAD_SERVER_HTTP_RATE_HEADERS_H_
#define HYDRAD_SERVER_HTTP_RATE_HEADERS_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/admission/admission.h"  // RateLeft

namespace hydrad {

// x-ratelimit-limit-requests, -remaining-requests and -reset-requests ("1.5s"); none for a tenant that has no
// rate.
std::vector<std::pair<std::string, std::string>> RateHeaders(const std::optional<RateLeft>& rate);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_HTTP_RATE_HEADERS_H_
