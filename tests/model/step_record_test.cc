#include "server/model/step_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/fakes/fake_model.h"

namespace hydrad {
namespace {

using testing::HasSubstr;

// One of everything: two adapters in two terms, one that decides by layer, a draw and a score.
class StepRecordTest : public testing::Test {
 protected:
  StepRecordTest() {
    router_.layers = FakeModel::kLayers;
    router_.rows = {nullptr, nullptr};
    router_.bias.assign(2 * FakeModel::kLayers, 0);
    router_.experts = {&one_, &other_};
    router_slot_ = FakeDeviceAdapters().Add(router_);
    Batch& b = step_.batch;
    b.tokens = {1, 2, 3, 4, 5, 6};
    b.positions = {0, 1, 2, 0, 1, 0};
    b.slots = {0, 1, 2, 4, 5, 8};
    b.segments = {{0, 3, 0, 0}, {3, 5, 0, 1}, {5, 6, 0, 2}};
    b.block_tables = {0, 1, 2};
    b.runs = {{.row_begin = 0, .row_end = 3, .adapter = one_.slot(), .weight = 0.5f},
              {.row_begin = 3, .row_end = 5, .adapter = one_.slot(), .decided_by = 0},
              {.row_begin = 5, .row_end = 6, .adapter = one_.slot(), .by_layer = 0},
              {.row_begin = 0, .row_end = 3, .adapter = other_.slot(), .weight = 2}};
    b.term_begin = {3};
    b.layer_adapters.assign(FakeModel::kLayers, other_.slot());
    b.probes = {{3, 5, router_slot_.number(), 0, 2, true}};
    b.probe_sums.assign(2 * FakeModel::kLayers, 0.25);
    b.logit_rows = {1, 2, 4};
    step_.scores = {{0, 3, 2}};
    for (const int index : {1, 2}) {
      RecordedDraw& draw = step_.draws.emplace_back();
      draw.index = index;
      draw.params.repetition_penalty = 1.25f;
      draw.params.logit_bias = {{4, 0.5f}};
      draw.prompt = {1, 2, 3}, draw.generated = {7}, draw.banned = {9};
      draw.seed = 1ull << 40, draw.step = 1, draw.top_logprobs = 2;
      draw.allowed.assign(MaskWords(model_.config().vocab_size), 0xf0f0f0f0u);
    }
  }
  std::string Encoded() const {
    std::vector<Draw> draws;
    for (const RecordedDraw& draw : step_.draws) draws.push_back(draw.View());
    return EncodeStep(step_.batch, draws, step_.scores);
  }
  absl::Status Check() const {
    return CheckStep(step_, model_.config(), model_.limits(), FakeDeviceAdapters());
  }

  FakeModel model_{FakeModel::Options{}};
  FakeAdapter one_{1}, other_{2};
  Router router_;
  RouterSlot router_slot_;
  RecordedStep step_;
};

TEST_F(StepRecordTest, ComesBackAsItWas) {
  const std::string bytes = Encoded();
  auto read = DecodeStep(bytes);
  ASSERT_TRUE(read.ok()) << read.status();
  step_ = *std::move(read);
  EXPECT_EQ(Encoded(), bytes);
  EXPECT_EQ(Check(), absl::OkStatus());
  EXPECT_EQ(step_.batch.runs[3].weight, 2);
  EXPECT_EQ(step_.batch.probes[0].sums_begin, 0);
  EXPECT_TRUE(step_.batch.probes[0].decides);
  EXPECT_EQ(step_.draws[1].params.logit_bias[0].bias, 0.5f);
  EXPECT_EQ(step_.draws[1].allowed[0], 0xf0f0f0f0u);
  EXPECT_EQ(step_.draws[1].seed, 1ull << 40);
}

TEST_F(StepRecordTest, EveryFaultOfAStepIsNamed) {
  struct Fault {
    void (*make)(RecordedStep&);
    const char* says;
  };
  const Fault faults[] = {
      {[](RecordedStep& s) { s.batch.tokens.clear(); }, "rows"},
      {[](RecordedStep& s) { s.batch.tokens[0] = -1; }, "vocabulary"},
      {[](RecordedStep& s) { s.batch.slots.pop_back(); }, "every row"},
      {[](RecordedStep& s) { s.batch.slots[0] = 1 << 20; }, "cache"},
      {[](RecordedStep& s) { s.batch.positions[0] = 128; }, "context"},
      {[](RecordedStep& s) { s.batch.block_tables[2] = 256; }, "cache"},
      {[](RecordedStep& s) { s.batch.segments[1].row_begin = 2; }, "segments"},
      {[](RecordedStep& s) { s.batch.segments.pop_back(); }, "last segment"},
      {[](RecordedStep& s) { s.batch.segments[2].table_begin = 3; }, "block table"},
      {[](RecordedStep& s) { s.batch.segments[0].first_position = INT32_MAX; }, "block table"},
      {[](RecordedStep& s) { s.batch.probes[0].router = 1 << 20; }, "router slot"},
      {[](RecordedStep& s) { s.batch.probes[0].sums_begin = 1; }, "sums"},
      {[](RecordedStep& s) { s.batch.probes[0].row_end = 7; }, "rows of a probe"},
      {[](RecordedStep& s) { s.batch.probes[0].decides = false; }, "decide"},
      {[](RecordedStep& s) { s.batch.runs[0].adapter = -1; }, "adapter slot -1"},
      {[](RecordedStep& s) { s.batch.runs[2].by_layer = 1; }, "layers' adapters"},
      {[](RecordedStep& s) { s.batch.runs[2].decided_by = 1; }, "decided"},
      {[](RecordedStep& s) { s.batch.layer_adapters[1] = 1 << 20; }, "adapter slot"},
      {[](RecordedStep& s) { s.batch.runs[0].gates = 1; }, "gate records"},
      {[](RecordedStep& s) { s.batch.term_begin[0] = 4; }, "terms"},
      {[](RecordedStep& s) { s.batch.term_begin[0] = -1; }, "terms"},
      {[](RecordedStep& s) { s.batch.runs[1].row_begin = 2; }, "runs of a term"},
      {[](RecordedStep& s) { s.batch.logit_rows[2] = 6; }, "logit rows"},
      {[](RecordedStep& s) { s.draws[1].index = 1; }, "draws"},
      {[](RecordedStep& s) { s.draws[0].index = 0, s.scores[0].index = 0; }, "scores"},
      {[](RecordedStep& s) { s.scores[0].index = 3; }, "scores"},
      {[](RecordedStep& s) { s.draws[0].params.top_p = 0; }, "a draw"},
      {[](RecordedStep& s) { s.draws[0].generated[0] = 1 << 20; }, "a draw"},
  };
  ASSERT_EQ(Check(), absl::OkStatus());
  const RecordedStep good = step_;
  for (const Fault& fault : faults) {
    step_ = good;
    fault.make(step_);
    EXPECT_THAT(std::string(Check().message()), HasSubstr(fault.says));
  }
}

// A stranger's file: whatever is in it, it is read or refused.
TEST_F(StepRecordTest, DamagedBytesAreReadOrRefused) {
  const std::string bytes = Encoded();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeStep(std::string_view(bytes).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(DecodeStep(bytes + "x").ok());
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string damaged = bytes;
    for (int flips = 1 + i % 3; flips > 0; --flips) damaged[random() % damaged.size()] ^= 1 << random() % 8;
    auto read = DecodeStep(damaged);
    refused += !read.ok() || !CheckStep(*read, model_.config(), model_.limits(), FakeDeviceAdapters()).ok();
  }
  EXPECT_GT(refused, 5000);
}

TEST_F(StepRecordTest, AFileThatIsNoRecordingIsRefused) {
  const std::string path = testing::TempDir() + "/step_record_test";
  { ASSERT_TRUE(RecordingModel::Open(model_, path).ok()); }
  EXPECT_FALSE(RecordingModel::Open(model_, "/nowhere/steps").ok());
  for (const char* bytes : {"", "hydrad", "hydrad steps 1\n....................", "hydrad steps 2\n..."}) {
    EXPECT_EQ(ReplaySteps(bytes, model_, FakeDeviceAdapters()).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
  const std::string header = "hydrad steps 2\n" + std::string(20, '\0');
  EXPECT_TRUE(ReplaySteps(header, model_, FakeDeviceAdapters()).ok());
  for (const std::string& bytes : {header + "S", header + "S12345678", header + "R" + std::string(8, '\0'),
                                   header + "S" + std::string(8, '\0')}) {
    EXPECT_EQ(ReplaySteps(bytes, model_, FakeDeviceAdapters()).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace hydrad
