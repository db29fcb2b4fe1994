#include "server/adapter_census.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include "server/base/invalid_argument.h"

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::Not;

class AdapterCensusTest : public testing::Test {
 protected:
  void Event(const std::string& name, AdapterState state, Tier tier = Tier::kDisk,
             AdapterChange change = AdapterChange::kState) {
    AdapterInfo info;
    info.name = name;
    info.state = state;
    info.tier = tier;
    census_.Event({info, change});
  }
  void ExpectCount(AdapterState state, Tier tier, int count) const {
    EXPECT_THAT(Text(), HasSubstr(fmt::format("hydrad_adapters{{state=\"{}\",tier=\"{}\"}} {}\n", Name(state),
                                              Name(tier), count)));
  }
  std::string Text() const {
    return prometheus::TextSerializer().Serialize(metrics_.collectable()->Collect());
  }
  void ExpectCounts(int loading, int available, int unloading, int failed) const {
    ExpectCount(AdapterState::kLoading, Tier::kDisk, loading);
    ExpectCount(AdapterState::kAvailable, Tier::kDisk, available);
    ExpectCount(AdapterState::kUnloading, Tier::kDisk, unloading);
    ExpectCount(AdapterState::kFailed, Tier::kDisk, failed);
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

TEST_F(AdapterCensusTest, FollowsTiers) {
  Event("a", AdapterState::kAvailable, Tier::kDevice, AdapterChange::kLoaded);
  Event("b", AdapterState::kAvailable, Tier::kHost, AdapterChange::kLoaded);
  ExpectCount(AdapterState::kAvailable, Tier::kDevice, 1);
  ExpectCount(AdapterState::kAvailable, Tier::kHost, 1);
  Event("a", AdapterState::kAvailable, Tier::kHost, AdapterChange::kEvicted);
  Event("b", AdapterState::kAvailable, Tier::kDevice, AdapterChange::kFetched);
  Event("a", AdapterState::kAvailable, Tier::kDisk, AdapterChange::kEvicted);
  ExpectCount(AdapterState::kAvailable, Tier::kDevice, 1);
  ExpectCount(AdapterState::kAvailable, Tier::kHost, 0);
  ExpectCount(AdapterState::kAvailable, Tier::kDisk, 1);
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_evictions_total{reason=\"device_memory\"} 1\n"));
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_evictions_total{reason=\"host_memory\"} 1\n"));
}

TEST_F(AdapterCensusTest, CountsLoads) {
  AdapterInfo info;
  info.name = "a";
  info.state = AdapterState::kAvailable;
  info.load_seconds = 0.5;
  census_.Event({info, AdapterChange::kLoaded});
  info.error = InvalidArgument("a replace that failed leaves the old one serving");
  census_.Event({info, AdapterChange::kLoaded});
  census_.Event({info, AdapterChange::kFetchFailed});
  info.tier = Tier::kHost;
  census_.Event({info, AdapterChange::kFetched});
  info.tier = Tier::kDevice;
  census_.Event({info, AdapterChange::kFetched});
  info.state = AdapterState::kUnloading;
  census_.Event({info, AdapterChange::kState});
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_loads_total{result=\"ok\"} 2\n"));
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_loads_total{result=\"error\"} 2\n"));
  EXPECT_THAT(Text(), HasSubstr("hydrad_adapter_load_duration_seconds_sum 2\n"));
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
