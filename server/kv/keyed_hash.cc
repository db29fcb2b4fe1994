#include "server/kv/keyed_hash.h"

#include <bit>
#include <random>

namespace hydrad {
namespace {

// The state of one hash.
class Sip {
 public:
  explicit Sip(const HashKey& key)
      : a_(key.low ^ 0x736f6d6570736575),
        b_(key.high ^ 0x646f72616e646f6d),
        c_(key.low ^ 0x6c7967656e657261),
        d_(key.high ^ 0x7465646279746573) {}

  void Add(uint64_t word) {
    d_ ^= word;
    Mix(2);
    a_ ^= word;
  }

  uint64_t Finish() {
    c_ ^= 0xff;
    Mix(4);
    return a_ ^ b_ ^ c_ ^ d_;
  }

 private:
  void Mix(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      a_ += b_;
      c_ += d_;
      b_ = std::rotl(b_, 13) ^ a_;
      d_ = std::rotl(d_, 16) ^ c_;
      a_ = std::rotl(a_, 32) + d_;
      c_ += b_;
      d_ = std::rotl(d_, 21) ^ a_;
      b_ = std::rotl(b_, 17) ^ c_;
      c_ = std::rotl(c_, 32);
    }
  }

  uint64_t a_, b_, c_, d_;
};

uint64_t Bits(int32_t token) { return static_cast<uint32_t>(token); }

}  // namespace

HashKey HashKey::Random() {
  std::random_device random;
  const auto word = [&] { return static_cast<uint64_t>(random()) << 32 | random(); };
  const uint64_t low = word();
  return {low, word()};
}

uint64_t KeyedHash(const HashKey& key, uint64_t first, std::span<const int32_t> rest) {
  Sip sip(key);
  sip.Add(first);
  size_t i = 0;
  for (; i + 1 < rest.size(); i += 2) sip.Add(Bits(rest[i]) | Bits(rest[i + 1]) << 32);
  const uint64_t length = sizeof(first) + rest.size() * sizeof(int32_t);  // its lowest byte ends the message
  sip.Add(length << 56 | (i < rest.size() ? Bits(rest[i]) : 0));
  return sip.Finish();
}

}  // namespace hydrad
