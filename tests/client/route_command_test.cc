#include <gmock/gmock.h>

#include "tests/client/command_runner.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

using RouteCommand = CommandTest;  // the fake daemon's adapters have two experts, but for "plain"

TEST_F(RouteCommand, DrawsTheMeans) {
  EXPECT_EQ(Run({"route", "--adapter", "domains", "a prompt"}), 0) << err_;
  EXPECT_THAT(out_, HasSubstr("adapter domains, generation"));
  EXPECT_THAT(out_, HasSubstr("mean weights over 7 tokens"));
  EXPECT_THAT(out_, HasSubstr("3      \u2591\u2591\u2591 25  \u2593\u2593\u2593 75\n"));
  EXPECT_THAT(out_, HasSubstr("tokens:  1\n"));
  EXPECT_TRUE(server_.last_generate().output().routing());
  EXPECT_EQ(server_.last_generate().sampling().temperature(), 0);
  EXPECT_EQ(server_.last_generate().stopping().max_tokens(), 16);
}

TEST_F(RouteCommand, ARowForEachRouterIfAsked) {
  EXPECT_EQ(Run({"route", "--adapter", "domains", "--projections", "a prompt"}), 0);
  EXPECT_THAT(out_, HasSubstr("3 up_proj"));
}

TEST_F(RouteCommand, JsonGivesTheNumbers) {
  EXPECT_EQ(
      Run({"route", "--adapter", "domains", "--json", "--adapter-top-k", "2", "--max-tokens", "3", "p"}), 0);
  const Json json = Parsed();
  EXPECT_EQ(json["tokens"], 7);
  EXPECT_EQ(json["routers"][0]["mean"][1], 0.75);
  EXPECT_EQ(json["choices"][0]["top"][0], 1);
  EXPECT_EQ(server_.last_generate().adapter_top_k(), 2);
  EXPECT_EQ(server_.last_generate().stopping().max_tokens(), 3);
}

TEST_F(RouteCommand, AnAdapterWithoutRoutersIsAnError) {
  EXPECT_EQ(Run({"route", "--adapter", "plain", "a prompt"}), 1);
  EXPECT_THAT(err_, HasSubstr("adapter 'plain' has no routers"));
}

TEST_F(RouteCommand, NeedsAnAdapter) { EXPECT_EQ(Run({"route", "a prompt"}), 2); }

}  // namespace
}  // namespace hydrad
