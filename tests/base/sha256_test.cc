#include "server/base/sha256.h"

#include <gtest/gtest.h>

namespace hydrad {
namespace {

// FIPS 180-2, appendix B.
TEST(Sha256, MatchesThePublishedVectors) {
  EXPECT_EQ(Hex(Sha256::Of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256::Of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256::Of(std::string(1000000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(Hex(Sha256::Of("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Sha256, PiecesGiveTheDigestOfTheWhole) {
  Sha256 pieces;
  pieces.Update("ab");
  pieces.Update("");
  pieces.Update("c");
  EXPECT_EQ(pieces.Finish(), Sha256::Of("abc"));
}

TEST(Sha256, HexIsReadBack) {
  const Sha256::Digest digest = Sha256::Of("abc");
  EXPECT_EQ(DigestOfHex(Hex(digest)), digest);
  std::string upper = Hex(digest);
  upper[0] = 'B';
  for (const std::string& wrong : {std::string(), Hex(digest).substr(1), Hex(digest) + "0", upper}) {
    EXPECT_EQ(DigestOfHex(wrong), std::nullopt) << wrong;
  }
}

}  // namespace
}  // namespace hydrad
