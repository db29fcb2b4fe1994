#include "server/adapter_census.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::Not;

class AdapterCensusTest : public testing::Test {
 protected:
  void Event(const std::string& name, AdapterState state) {
    AdapterInfo info;
    info.name = name;
    info.state = state;
    census_.Event(info);
  }
  std::string Text() const { return prometheus::TextSerializer().Serialize(metrics_.registry()->Collect()); }
  void ExpectCounts(int loading, int available, int unloading, int failed) const {
    const std::string text = Text();
    EXPECT_THAT(text, HasSubstr(fmt::format("hydrad_adapters{{state=\"{}\"}} {}\n",
                                            Name(AdapterState::kLoading), loading)));
    EXPECT_THAT(text, HasSubstr(fmt::format("hydrad_adapters{{state=\"{}\"}} {}\n",
                                            Name(AdapterState::kAvailable), available)));
    EXPECT_THAT(text, HasSubstr(fmt::format("hydrad_adapters{{state=\"{}\"}} {}\n",
                                            Name(AdapterState::kUnloading), unloading)));
    EXPECT_THAT(text, HasSubstr(fmt::format("hydrad_adapters{{state=\"{}\"}} {}\n",
                                            Name(AdapterState::kFailed), failed)));
  }

  Metrics metrics_;
  AdapterCensus census_{metrics_};
};

TEST_F(AdapterCensusTest, StartsAtZero) { ExpectCounts(0, 0, 0, 0); }

TEST_F(AdapterCensusTest, FollowsEachName) {
  Event("a", AdapterState::kLoading);
  Event("b", AdapterState::kLoading);
  ExpectCounts(2, 0, 0, 0);
  Event("a", AdapterState::kAvailable);
  Event("b", AdapterState::kFailed);
  ExpectCounts(0, 1, 0, 1);
  Event("a", AdapterState::kAvailable);  // replaced
  ExpectCounts(0, 1, 0, 1);
  Event("a", AdapterState::kUnloading);
  ExpectCounts(0, 0, 1, 1);
  Event("a", AdapterState::kUnloaded);
  ExpectCounts(0, 0, 0, 1);
}

TEST_F(AdapterCensusTest, CountsLoads) {
  AdapterInfo info;
  info.name = "a";
  info.state = AdapterState::kAvailable;
  info.load_seconds = 0.5;
  census_.Event(info);
  info.error = InvalidArgument("a replace that failed leaves the old one serving");
  census_.Event(info);
  info.state = AdapterState::kUnloading;
  census_.Event(info);
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_loads_total{result=\"ok\"} 1\n"));
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_loads_total{result=\"error\"} 1\n"));
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_load_duration_seconds_sum 1\n"));
}

TEST_F(AdapterCensusTest, AnAdapterThatGoesTakesItsSeriesAlong) {
  Event("sql", AdapterState::kAvailable);
  metrics_.RequestFinished({.tenant = "t", .adapter = "sql", .outcome = "ok"});
  EXPECT_THAT(Text(), HasSubstr("adapter=\"sql\""));
  Event("sql", AdapterState::kUnloaded);
  EXPECT_THAT(Text(), Not(HasSubstr("adapter=\"sql\"")));
}

}  // namespace
}  // namespace hydrad
