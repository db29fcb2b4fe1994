// SHA-256, a piece at a time: digests of files, hashes of keys.
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

// One digest being made. For one thread at a time; not to be used after Finish.
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

// Lower-case hex, 64 characters.
std::string Hex(const Sha256::Digest& digest);
// Its inverse; nullopt for anything that Hex does not write.
std::optional<Sha256::Digest> DigestOfHex(std::string_view hex);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_BASE_SHA256_H_
