#include "server/scheduler/adapter_use.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_claim.h"
#include "tests/fakes/fake_model.h"

namespace hydrad {
namespace {

// A second handle on the same generation.
std::shared_ptr<const AdapterGeneration> Generation(const std::string& name, uint64_t number) {
  auto made = std::make_shared<AdapterGeneration>();
  made->name = name;
  made->generation = number;
  made->device = std::make_unique<FakeAdapter>(number);
  return made;
}

AdapterHandle Bound(std::shared_ptr<const AdapterGeneration> generation) {
  AdapterHandle handle = HandleOn(std::move(generation));
  EXPECT_TRUE(handle.Bind());
  return handle;
}

TEST(AdapterUse, TheBaseModelIsOrderZeroAndHasNoName) {
  AdapterUse use;
  const AdapterHandle base;
  use.Enter(base);
  EXPECT_EQ(use.Start(base), 0u);
  EXPECT_EQ(use.Running(), "");
  EXPECT_EQ(use.Waiting(), "");
  use.Leave(base, true);
}

TEST(AdapterUse, OneOrderPerGenerationEvenOfOneName) {
  AdapterUse use;
  const auto first = Generation("a", 1), second = Generation("a", 2);
  const AdapterHandle one = Bound(first), same = Bound(first), other = Bound(second);
  for (const AdapterHandle* handle : {&one, &same, &other}) use.Enter(*handle);
  const uint64_t order = use.Start(one);
  EXPECT_NE(order, 0u);
  EXPECT_EQ(use.Start(same), order);
  EXPECT_NE(use.Start(other), order);
  use.Leave(one, true);
  use.Leave(same, true);
  use.Enter(one);
  EXPECT_NE(use.Start(one), order);  // orders are not used again
}

TEST(AdapterUse, NamesFollowTheRequests) {
  AdapterUse use;
  const AdapterHandle b = Bound(Generation("b", 1)), a = HandleOn(Generation("a", 1));
  EXPECT_TRUE(use.TakeChanged());
  EXPECT_FALSE(use.TakeChanged());
  use.Enter(b);
  use.Enter(a);
  EXPECT_EQ(use.Waiting(), "a,b");
  EXPECT_TRUE(use.TakeChanged());
  use.Start(b);
  EXPECT_EQ(use.Running(), "b");
  EXPECT_EQ(use.Waiting(), "a");
  EXPECT_TRUE(use.TakeChanged());
  use.Leave(b, true);
  use.Leave(a, false);
  EXPECT_EQ(use.Running(), "");
  EXPECT_EQ(use.Waiting(), "");
  EXPECT_TRUE(use.TakeChanged());
}

TEST(AdapterUse, ASecondRequestChangesNoList) {
  AdapterUse use;
  const AdapterHandle a = HandleOn(Generation("a", 1));
  use.Enter(a);
  use.TakeChanged();
  use.Enter(a);
  EXPECT_FALSE(use.TakeChanged());
}

}  // namespace
}  // namespace hydrad
