// Runs a command of hydractl against a fake daemon and keeps what it printed.
#ifndef HYDRAD_TESTS_CLIENT_COMMAND_RUNNER_H_
#define HYDRAD_TESTS_CLIENT_COMMAND_RUNNER_H_

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "client/hydractl/hydractl.h"
#include "server/base/json.h"
#include "tests/fakes/fake_server.h"

namespace hydrad {

class CommandTest : public testing::Test {
 protected:
  // The exit code; `out_` and `err_` are of this run alone.
  int Run(std::vector<std::string> args, const std::string& input = "") {
    args.insert(args.end(), {"--server", server_.address(), "--admin", server_.address()});
    return RunAsGiven(std::move(args), input);
  }
  int RunAsGiven(std::vector<std::string> args, const std::string& input = "") {
    std::istringstream in(input);
    std::ostringstream out, err;
    const int code = RunHydractl(std::move(args), in, out, err);
    out_ = out.str();
    err_ = err.str();
    return code;
  }
  // What was printed, which must be one JSON value and a newline.
  Json Parsed() const {
    const auto json = ParseJson(out_);
    EXPECT_TRUE(json.ok()) << json.status() << " in " << out_;
    EXPECT_EQ(out_.find('\n'), out_.size() - 1) << out_;
    return json.ok() ? *json : Json();
  }

  FakeServer server_;
  std::string out_, err_;
};

}  // namespace hydrad

#endif  // HYDRAD_TESTS_CLIENT_COMMAND_RUNNER_H_
