#include "server/front/request_names.h"

#include <fmt/core.h>

#include <random>

#include "server/base/sha256.h"

namespace hydrad {

RequestNames::RequestNames() {
  std::random_device device;
  for (int i = 0; i < 8; ++i) key_ += fmt::format("{:08x}", device());
}

// Key and id have a fixed length, so that hashing one behind the other is a sound keyed hash.
std::string RequestNames::Name(RequestId id) const {
  return "req-" + Hex(Sha256::Of(fmt::format("{}{:016x}", key_, id))).substr(0, 32);
}

}  // namespace hydrad
