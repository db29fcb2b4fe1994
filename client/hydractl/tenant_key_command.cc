#include <openssl/rand.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "client/hydractl/session.h"
#include "server/base/check.h"
#include "server/base/sha256.h"

namespace hydrad {
namespace {

constexpr char kFooter[] =
    "The daemon is given hashes only (key_sha256 in the tenants file, --admin-key-sha256): who reads them "
    "learns no\n"
    "key.\n\n"
    "Examples:\n"
    "  hydractl tenant-key hash < key                 # the hash of a key that you have\n"
    "  hydractl tenant-key hash --generate            # a new key on the first line, its hash on the second";

// 256 random bits.
std::string NewKey() {
  Sha256::Digest bytes;
  HYDRAD_CHECK(RAND_bytes(bytes.data(), bytes.size()) == 1);
  return "hydrad-" + Hex(bytes);
}

void RunHash(bool generate, Session& session) {
  std::string key;
  if (generate) {
    key = NewKey();
    session.out << key << '\n';
  } else {
    key = session.TextOrStdin("-");
    if (key.ends_with('\r')) key.pop_back();
  }
  if (key.empty() || key.find_first_of(" \t\r\n") != std::string::npos) {
    return session.FailUsage("standard input must hold one key without spaces");
  }
  session.out << Hex(Sha256::Of(key)) << '\n';
}

}  // namespace

void AddTenantKeyCommand(CLI::App& app, Session& session) {
  CLI::App* command = app.add_subcommand("tenant-key", "Make keys for tenants and administrators");
  command->require_subcommand(1);
  CLI::App* hash = command->add_subcommand("hash", "Print the SHA-256 of a key read from standard input");
  const auto generate = std::make_shared<bool>(false);
  hash->add_flag("--generate", *generate, "Make a new random key and print it before its hash");
  command->footer(kFooter);
  hash->footer(kFooter);
  hash->callback([generate, &session] { RunHash(*generate, session); });
}

}  // namespace hydrad
