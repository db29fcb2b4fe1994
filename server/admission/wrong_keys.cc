#include "server/admission/wrong_keys.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <utility>

namespace hydrad {
namespace {

// Returns the first 8 of the 16 bytes of `text`, an IPv6 address that may have a scope; "" if it is none.
std::string Network(std::string text) {
  text.resize(std::min(text.find('%'), text.size()));
  std::array<char, 16> bytes;
  if (inet_pton(AF_INET6, text.c_str(), bytes.data()) != 1) return "";
  return std::string(bytes.data(), 8);
}

}  // namespace

Duration WrongKeys::Count(std::string_view peer) {
  const TimePoint now = clock_.Now();
  std::string address = PeerAddress(peer);
  MutexLock lock(&mu_);
  const auto found = by_address_.find(address);
  if (found != by_address_.end()) {
    entries_.splice(entries_.begin(), entries_, found->second);
  } else {
    if (entries_.size() == kMostAddresses) {
      by_address_.erase(entries_.back().address);
      entries_.pop_back();
    }
    entries_.push_front({.address = std::move(address)});
    by_address_.emplace(entries_.front().address, entries_.begin());
  }
  TokenBucket& bucket = entries_.front().bucket;
  const Duration wait = bucket.Wait(now);
  if (wait == Duration{}) bucket.Take(now);
  return wait;
}

size_t WrongKeys::addresses() const {
  MutexLock lock(&mu_);
  return entries_.size();
}

std::string PeerAddress(std::string_view peer) {
  constexpr std::string_view kV4 = "ipv4:", kV6 = "ipv6:";
  const size_t port = peer.rfind(':');
  if (peer.starts_with(kV4) && port > kV4.size()) return std::string(peer.substr(0, port));
  if (!peer.starts_with(kV6) || port <= kV6.size()) return std::string(peer);
  std::string_view host = peer.substr(kV6.size(), port - kV6.size());
  for (const std::string_view bracket : {"%5B", "["}) {
    if (host.starts_with(bracket)) host.remove_prefix(bracket.size());
  }
  for (const std::string_view bracket : {"%5D", "]"}) {
    if (host.ends_with(bracket)) host.remove_suffix(bracket.size());
  }
  const std::string network = Network(std::string(host));
  return std::string(kV6) + (network.empty() ? std::string(host) : network);
}

}  // namespace hydrad
