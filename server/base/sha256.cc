#include "server/base/sha256.h"

#include <fmt/core.h>
#include <openssl/evp.h>

#include <algorithm>

#include "server/base/background.h"
#include "server/base/check.h"

namespace hydrad {

struct Sha256::Context {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> evp{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

// OpenSSL's calls fail only without memory or for an algorithm that the build lacks: nothing a caller can
// mend.
Sha256::Sha256() : context_(std::make_unique<Context>()) {
  HYDRAD_CHECK(EVP_DigestInit_ex(context_->evp.get(), EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() = default;

void Sha256::Update(std::span<const std::byte> bytes) {
  constexpr size_t kAtOnce = 64 << 10;
  do {
    const auto some = bytes.first(std::min(bytes.size(), kAtOnce));
    HYDRAD_CHECK(EVP_DigestUpdate(context_->evp.get(), some.data(), some.size()) == 1);
    bytes = bytes.subspan(some.size());
    Throttle();
  } while (!bytes.empty());
}

Sha256::Digest Sha256::Finish() {
  Digest digest;
  HYDRAD_CHECK(EVP_DigestFinal_ex(context_->evp.get(), digest.data(), nullptr) == 1);
  return digest;
}

Sha256::Digest Sha256::Of(std::string_view text) {
  Sha256 sha;
  sha.Update(text);
  return sha.Finish();
}

std::string Hex(const Sha256::Digest& digest) {
  std::string hex;
  for (const unsigned char byte : digest) hex += fmt::format("{:02x}", byte);
  return hex;
}

std::optional<Sha256::Digest> DigestOfHex(std::string_view hex) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  Sha256::Digest digest;
  if (hex.size() != 2 * digest.size()) return std::nullopt;
  for (size_t i = 0; i < digest.size(); ++i) {
    const size_t high = kDigits.find(hex[2 * i]), low = kDigits.find(hex[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    digest[i] = static_cast<unsigned char>(high << 4 | low);
  }
  return digest;
}

}  // namespace hydrad
