#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/collectable.h>
#include <prometheus/text_serializer.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

namespace hydrad {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Text(const Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.collectable()->Collect());
}

// Every event once.
void Exercise(Metrics& metrics) {
  metrics.RequestFinished({.tenant = "acme",
                           .adapter = "sql",
                           .outcome = "ok",
                           .prompt_tokens = 12,
                           .generated_tokens = 34,
                           .total = 1.5,
                           .queue = 0.25,
                           .prefill = 0.25,
                           .decode = 1,
                           .time_to_first_token = 0.5});
  metrics.InterToken(0.01, 3);
  metrics.Rejected("queue_full");
  metrics.SetRequests(4, 2);
  metrics.SetUnreadOutput(12);
  metrics.ReadersEnded(3);
  metrics.AdapterLoad("ok", 0.1);
  metrics.AdapterEvicted("capacity");
  metrics.SetAdapters("host", "available", 3);
  metrics.SetAdapterBytes("device", 4096);
  metrics.SetKvBlocks(25, 75);
  metrics.Step("decode", 0.004, 8, 3);
  metrics.Preempted();
  metrics.StepFailed(/*device_lost=*/false);
  metrics.StepFailed(/*device_lost=*/false);
  metrics.StepFailed(/*device_lost=*/true);
  metrics.Routed("sql", std::vector<double>{0.75, 2.25}, 0.5);
  metrics.SetConnections("grpc", 5);
  metrics.ConnectionRefused("grpc", "too_many");
  metrics.AcceptFailed("admin", "EMFILE");
  metrics.SetListenerAnswers("grpc", true);
  metrics.SetListenerAnswers("admin", false);
  metrics.SetHeartbeatAge(0.125);
  metrics.ConfigReloaded(true);
  metrics.ConfigReloaded(false);
  metrics.SetLoraInfo(16, "sql,law", "med", 1700000000);
  metrics.SetBuildInfo("1.2.3", "cpu", "tiny");
  metrics.SetDeviceReader([] {
    return DeviceReading{
        .power_watts = 300.5, .energy_joules = 1e7, .memory_used_bytes = 8192, .utilization = 0.75};
  });
}

TEST(MetricsTest, EverySeriesIsExposed) {
  Metrics metrics;
  Exercise(metrics);
  const std::string text = Text(metrics);
  for (const char* line : {
           "hydrad_requests_total{adapter=\"sql\",outcome=\"ok\",tenant=\"acme\"} 1",
           "hydrad_prompt_tokens_total{adapter=\"sql\",tenant=\"acme\"} 12",
           "hydrad_generated_tokens_total{adapter=\"sql\",tenant=\"acme\"} 34",
           "hydrad_requests_running 4",
           "hydrad_requests_waiting 2",
           "hydrad_rejected_total{reason=\"queue_full\"} 1",
           "hydrad_cancelled_total 0",
           "hydrad_unread_output_bytes 12",
           "hydrad_stalled_readers_total 3",
           "hydrad_time_to_first_token_seconds_sum 0.5",
           "hydrad_inter_token_latency_seconds_count 3",
           "hydrad_request_duration_seconds_sum 1.5",
           "hydrad_queue_duration_seconds_sum 0.25",
           "hydrad_prefill_duration_seconds_sum 0.25",
           "hydrad_decode_duration_seconds_sum 1",
           "hydrad_adapters{state=\"available\",tier=\"host\"} 3",
           "hydrad_adapter_bytes{tier=\"device\"} 4096",
           "hydrad_adapter_loads_total{result=\"ok\"} 1",
           "hydrad_adapter_load_duration_seconds_count 1",
           "hydrad_adapter_evictions_total{reason=\"capacity\"} 1",
           "hydrad_kv_blocks{state=\"used\"} 25",
           "hydrad_kv_blocks{state=\"free\"} 75",
           "hydrad_kv_cache_usage_ratio 0.25",
           "hydrad_step_duration_seconds_count{phase=\"decode\"} 1",
           "hydrad_batch_size_sum 8",
           "hydrad_batch_distinct_adapters_sum 3",
           "hydrad_preemptions_total 1",
           "hydrad_device_errors_total{lost=\"step\"} 2",
           "hydrad_device_errors_total{lost=\"device\"} 1",
           "hydrad_expert_tokens_total{adapter=\"sql\",expert=\"0\"} 0.75",
           "hydrad_expert_tokens_total{adapter=\"sql\",expert=\"1\"} 2.25",
           "hydrad_router_entropy_sum{adapter=\"sql\"} 0.5",
           "hydrad_connections{listener=\"grpc\"} 5",
           "hydrad_connections_refused_total{listener=\"grpc\",reason=\"too_many\"} 1",
           "hydrad_accept_failures_total{error=\"EMFILE\",listener=\"admin\"} 1",
           "hydrad_listener_answers{listener=\"grpc\"} 1",
           "hydrad_listener_answers{listener=\"admin\"} 0",
           "hydrad_scheduler_heartbeat_age_seconds 0.125",
           "hydrad_config_last_reload_successful 0",
           "hydrad_config_reloads_total{result=\"ok\"} 1",
           "hydrad_config_reloads_total{result=\"error\"} 1",
           "hydrad_build_info{device=\"cpu\",model=\"tiny\",version=\"1.2.3\"} 1",
           "hydrad_power_watts 300.5",
           "hydrad_energy_joules_total 10000000",
           "hydrad_device_memory_used_bytes 8192",
           "hydrad_device_utilization_ratio 0.75",
       }) {
    EXPECT_THAT(text, HasSubstr(std::string(line) + "\n"));
  }
  EXPECT_THAT(text, HasSubstr("hydrad_lora_requests_info{max_lora=\"16\",running_lora_adapters=\"sql,law\","
                              "waiting_lora_adapters=\"med\"} 1700000000"));
}

TEST(MetricsTest, TheDeviceIsAskedAtEveryScrape) {
  Metrics metrics;
  EXPECT_THAT(Text(metrics), Not(HasSubstr("hydrad_energy_joules_total")));
  double joules = 0;
  metrics.SetDeviceReader([&] { return DeviceReading{.energy_joules = joules += 21}; });
  EXPECT_THAT(Text(metrics), HasSubstr("hydrad_energy_joules_total 21\n"));
  EXPECT_THAT(Text(metrics), HasSubstr("hydrad_energy_joules_total 42\n"));
  EXPECT_THAT(Text(metrics), Not(HasSubstr("hydrad_power_watts"))) << "which it does not tell";
}

TEST(MetricsTest, PromtoolFindsNothingToSay) {
  Metrics metrics;
  Exercise(metrics);
  const std::string file = testing::TempDir() + "/hydrad_metrics_test.txt";
  std::FILE* out = std::fopen(file.c_str(), "w");
  ASSERT_NE(out, nullptr);
  std::fputs(Text(metrics).c_str(), out);
  std::fclose(out);
  EXPECT_EQ(std::system(("promtool check metrics < " + file).c_str()), 0) << Text(metrics);
}

TEST(MetricsTest, TheLastReloadIsTheOneThatCounts) {
  Metrics metrics;
  EXPECT_THAT(Text(metrics), HasSubstr("hydrad_config_last_reload_successful 1\n")) << "it has started";
  metrics.ConfigReloaded(false);
  EXPECT_THAT(Text(metrics), HasSubstr("hydrad_config_last_reload_successful 0\n"));
  metrics.ConfigReloaded(true);
  EXPECT_THAT(Text(metrics), HasSubstr("hydrad_config_last_reload_successful 1\n"));
}

TEST(MetricsTest, ARequestWithoutAFirstTokenIsNotInTheTokenHistograms) {
  Metrics metrics;
  metrics.RequestFinished({.tenant = "t", .adapter = "", .outcome = "cancelled", .total = 3, .queue = 3});
  const std::string text = Text(metrics);
  EXPECT_THAT(text, HasSubstr("hydrad_request_duration_seconds_count 1"));
  EXPECT_THAT(text, HasSubstr("hydrad_time_to_first_token_seconds_count 0"));
  EXPECT_THAT(text, HasSubstr("hydrad_prefill_duration_seconds_count 0"));
  EXPECT_THAT(text, HasSubstr("hydrad_cancelled_total 1"));
}

TEST(MetricsTest, TheInfoLineIsReplacedAndItsListsAreBounded) {
  Metrics metrics(/*max_label_values=*/2);
  metrics.SetLoraInfo(8, "a", "", 1);
  metrics.SetLoraInfo(8, "a,b,c", "d", 2);
  const std::string text = Text(metrics);
  EXPECT_THAT(text,
              HasSubstr("{max_lora=\"8\",running_lora_adapters=\"a,b\",waiting_lora_adapters=\"d\"} 2"));
  EXPECT_THAT(text, Not(HasSubstr("running_lora_adapters=\"a\"")));
  metrics.SetLoraInfo(8, "a,b", "d", 3);  // the same labels keep their line
  EXPECT_THAT(Text(metrics), HasSubstr("waiting_lora_adapters=\"d\"} 3"));
}

TEST(MetricsTest, AnEmptyCacheIsNotInUse) {
  Metrics metrics;
  metrics.SetKvBlocks(0, 0);
  EXPECT_THAT(Text(metrics), HasSubstr("hydrad_kv_cache_usage_ratio 0\n"));
}

TEST(MetricsTest, MayBeCalledFromManyThreads) {
  Metrics metrics(/*max_label_values=*/4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&metrics, t] {
      const std::string adapter = "adapter-" + std::to_string(t);
      for (int i = 0; i < 200; ++i) {
        metrics.RequestFinished({.tenant = "t", .adapter = adapter, .outcome = "ok", .generated_tokens = 1});
        metrics.SetLoraInfo(8, adapter, "", i);
        if (i % 50 == 0) metrics.AdapterGone(adapter);
        if (i % 100 == 0) Text(metrics);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(Text(metrics), HasSubstr("hydrad_request_duration_seconds_count 800"));
}

}  // namespace
}  // namespace hydrad
