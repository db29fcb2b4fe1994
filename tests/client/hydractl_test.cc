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

TEST_F(Hydractl, NamesTheWordThatItDoesNotKnow) {
  EXPECT_EQ(RunAsGiven({"generte", "Hello"}), 2);
  EXPECT_NE(err_.find("unknown command 'generte'; did you mean 'generate'?"), std::string::npos) << err_;
  EXPECT_EQ(RunAsGiven({"generate", "--adaptor", "x", "Hello"}), 2);
  EXPECT_NE(err_.find("unknown option '--adaptor'; did you mean '--adapter'?"), std::string::npos) << err_;
  EXPECT_EQ(RunAsGiven({"adapter", "unlaod", "x"}), 2);
  EXPECT_NE(err_.find("did you mean 'unload'?"), std::string::npos) << err_;
}

TEST_F(Hydractl, TellsItsVersion) {
  EXPECT_EQ(RunAsGiven({"--version"}), 0);
  EXPECT_TRUE(out_.starts_with("hydractl ") && out_.ends_with("\n")) << out_;
  EXPECT_EQ(err_, "");
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
  EXPECT_NE(err_.find("Is the daemon running at " + address + ", without TLS?"), std::string::npos) << err_;
}

}  // namespace
}  // namespace hydrad
