// SHA-256 of what comes bit by bit: digests of files, hashes of keys.
#ifndef HYDRAD_SERVER_BASE_SHA256_H_
#define HYDRAD_SERVER_BASE_SHA256_H_

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace hydrad {

// Makes one digest. For one thread at a time. REQUIRES of every call: Finish has not been called.
class Sha256 {
 public:
  using Digest = std::array<unsigned char, 32>;

  Sha256();
  ~Sha256();

  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text) { Update(std::as_bytes(std::span(text))); }
  Digest Finish();

  static Digest Of(std::string_view text);

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// Returns 64 characters of lower-case hex.
std::string Hex(const Sha256::Digest& digest);
// Returns the digest whose Hex is `hex`, or nullopt where there is none.
std::optional<Sha256::Digest> DigestOfHex(std::string_view hex);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_SHA256_H_
