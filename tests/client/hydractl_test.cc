#include "client/hydractl/hydractl.h"

#include <cstdlib>

#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

using Hydractl = CommandTest;

TEST_F(Hydractl, HelpOfEveryCommandNamesItsOptions) {
  EXPECT_EQ(RunAsGiven({"--help"}), 0);
  for (const char* name :
       {"generate", "adapter", "tokenize", "models", "status", "health", "bench", "tenant-key"}) {
    EXPECT_NE(out_.find(name), std::string::npos);
    std::string all = out_;
    EXPECT_EQ(RunAsGiven({name, "--help"}), 0);
    EXPECT_NE(out_.find("--server"), std::string::npos) << name;
    EXPECT_EQ(err_, "");
    out_ = all;
  }
  EXPECT_NE(out_.find("Exit codes"), std::string::npos);
}

TEST_F(Hydractl, WrongArgumentsExitWithTwo) {
  EXPECT_EQ(RunAsGiven({}), 2);
  EXPECT_EQ(RunAsGiven({"no-such-command"}), 2);
  EXPECT_EQ(RunAsGiven({"generate", "a", "--no-such-flag"}), 2);
  EXPECT_EQ(RunAsGiven({"generate", "a", "--max-tokens", "many"}), 2);
  EXPECT_EQ(out_, "");
  EXPECT_NE(err_, "");
}

TEST_F(Hydractl, AddressComesFromTheEnvironment) {
  setenv("HYDRAD_SERVER", server_.address().c_str(), 1);
  setenv("HYDRAD_ADMIN", server_.address().c_str(), 1);
  EXPECT_EQ(RunAsGiven({"health"}), 0);
  EXPECT_EQ(RunAsGiven({"status"}), 0);
  unsetenv("HYDRAD_SERVER");
  unsetenv("HYDRAD_ADMIN");
}

TEST_F(Hydractl, UnreachableDaemonIsSaidSo) {
  std::string address;
  {
    FakeServer gone;
    address = gone.address();
  }
  EXPECT_EQ(RunAsGiven({"--server", address, "models"}), 1);
  EXPECT_NE(err_.find("Is the daemon running at " + address), std::string::npos) << err_;
}

}  // namespace
}  // namespace hydrad
