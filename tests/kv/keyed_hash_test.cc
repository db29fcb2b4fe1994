#include "server/kv/keyed_hash.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace hydrad {
namespace {

// Known values: the bytes 00 01 02 ... under the key 00 01 ... 0f, as OpenSSL's SIPHASH gives them.
TEST(KeyedHash, IsSipHash) {
  const HashKey key{.low = 0x0706050403020100, .high = 0x0f0e0d0c0b0a0908};
  const uint64_t first = 0x0706050403020100;
  const std::vector<int32_t> rest = {0x0b0a0908, 0x0f0e0d0c};
  EXPECT_EQ(KeyedHash(key, first, {}), 0x93f5f5799a932462u);
  EXPECT_EQ(KeyedHash(key, first, std::span(rest).first(1)), 0x751e8fbc860ee5fbu);
  EXPECT_EQ(KeyedHash(key, first, rest), 0x3f2acc7f57c29bdbu);
}

TEST(KeyedHash, EveryPartCounts) {
  const std::vector<int32_t> tokens = {1, 2, 3, -1};
  std::set<uint64_t> seen = {KeyedHash({}, 5, tokens)};
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::vector<int32_t> other = tokens;
    ++other[i];
    seen.insert(KeyedHash({}, 5, other));
    seen.insert(KeyedHash({}, 5, std::span(tokens).first(i)));
  }
  seen.insert(KeyedHash({}, 6, tokens));
  seen.insert(KeyedHash({.low = 1}, 5, tokens));
  seen.insert(KeyedHash({.high = 1}, 5, tokens));
  EXPECT_EQ(seen.size(), 12u);
}

TEST(KeyedHash, NoTwoKeysAreAlike) {
  const HashKey first = HashKey::Random(), second = HashKey::Random();
  EXPECT_NE(first.low, second.low);
  EXPECT_NE(first.high, second.high);
  EXPECT_NE(first.low, first.high);
}

}  // namespace
}  // namespace hydrad
