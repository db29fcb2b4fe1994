// What a user sends with a report of wrong output: the daemon's recording of its steps, run again.
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdlib>
#include <string>
#include <vector>

#include "hydrad/v1/inference.grpc.pb.h"
#include "server/backend/cpu/cpu_backend.h"
#include "server/backend/device_adapters.h"
#include "server/base/file.h"
#include "server/model/step_record.h"
#include "server/model/transformer.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/greedy.h"
#include "tests/model/model_files.h"

namespace hydrad {
namespace {

constexpr char kModel[] = "deploy/models/tiny";

// What the tool that maintainers use ends with.
int ReplayBy(const std::string& recording) {
  const std::string command = std::string(REPLAY_STEPS) + " " + kModel + " " + recording;
  const int status = std::system(command.c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(RecordSteps, TheDaemonsRecordingGivesTheSameBitsOnAFreshModel) {
  const TempDir directory;
  const std::string path = directory.path() + "/steps";
  {
    DaemonProcess daemon({"--model", kModel, "--listen", "127.0.0.1:0", "--admin-listen", "",
                          "--metrics-listen", "", "--lame-duck", "0", "--record-steps", path});
    const auto stub = v1::Inference::NewStub(Channel(daemon.Address("inference")));
    EXPECT_EQ(Greedy(*stub, "", std::vector<int>{5, 6, 7}, 8).size(), 8u);
    daemon.Signal(SIGTERM);
    ASSERT_EQ(daemon.Wait(), 0) << daemon.log();
  }
  const auto recording = ReadFile(path);
  ASSERT_TRUE(recording.ok()) << recording.status();
  const auto limits = LimitsOfRecording(*recording);
  ASSERT_TRUE(limits.ok()) << limits.status();
  const auto backend = MakeCpuBackend({.threads = 1, .weight_type = DType::kBf16});
  const auto model = LoadTransformer(kModel, *backend, *limits);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto replayed = ReplaySteps(*recording, **model, DeviceAdapters());
  ASSERT_TRUE(replayed.ok()) << replayed.status();
  EXPECT_GE(replayed->steps, 8);
  EXPECT_EQ(replayed->results, replayed->steps);
  EXPECT_EQ(replayed->first_other, 0);

  EXPECT_EQ(ReplayBy(path), 0);
  std::string other = *recording;
  other.back() = static_cast<char>(other.back() ^ 1);  // of the last result
  directory.Write("other", other);
  EXPECT_EQ(ReplayBy(directory.path() + "/other"), 1);
  directory.Write("none", "no recording");
  EXPECT_EQ(ReplayBy(directory.path() + "/none"), 2);
}

}  // namespace
}  // namespace hydrad
