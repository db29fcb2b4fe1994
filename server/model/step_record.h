// Steps as bytes: written while a model serves, and run again elsewhere. A recording is how a user shows a
// step that went wrong, and how a test knows that a step is all in its values.
#ifndef HYDRAD_SERVER_MODEL_STEP_RECORD_H_
#define HYDRAD_SERVER_MODEL_STEP_RECORD_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/backend/device_adapters.h"
#include "server/model/model.h"

namespace hydrad {

// A draw that owns what its row refers to.
struct RecordedDraw {
  int32_t index = 0;
  SamplingParams params;
  std::vector<int32_t> prompt, generated, banned;
  uint64_t seed = 0, step = 0;
  int32_t top_logprobs = -1;
  std::vector<uint32_t> allowed;

  Draw View() const;  // of this
};

// Everything that a step depends on besides weights and cache.
struct RecordedStep {
  Batch batch;
  std::vector<RecordedDraw> draws;
  std::vector<ScoreRow> scores;
};

// The bytes of a step: numbers as this machine has them, arrays behind their lengths. What has the same bytes
// is the same step.
std::string EncodeStep(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores);
// The bytes of what a step gave, bit for bit.
std::string EncodeResult(const StepResult& result);
// INVALID_ARGUMENT for bytes that are no step. What it returns may still be no step of a model: see
// CheckStep.
absl::StatusOr<RecordedStep> DecodeStep(std::string_view bytes);

// INVALID_ARGUMENT, saying what is wrong, unless the step keeps to what Batch says, to `limits` and to the
// slots that are held.
absl::Status CheckStep(const RecordedStep& step, const ModelConfig& config, const ModelLimits& limits,
                       const DeviceAdapters& held);

// A file of steps: a header with the limits of the model that ran them, and then each step and, where it did
// not fail, its result.
//
// Writes every step of `inner` to such a file before it is launched, so that the last one is there even if
// the process ends in it. When the disk fails, the rest is not recorded, which the log says once. `inner`
// must outlive it.
class RecordingModel final : public Model {
 public:
  // Errors name the file.
  static absl::StatusOr<std::unique_ptr<RecordingModel>> Open(Model& inner, const std::string& path);

  const ModelConfig& config() const override { return inner_.config(); }
  const ModelLimits& limits() const override { return inner_.limits(); }
  bool asynchronous() const override { return inner_.asynchronous(); }
  void Prepare(const Batch& batch) override { inner_.Prepare(batch); }
  Step Launch(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) override;

 protected:
  absl::StatusOr<StepResult> Finish() override;

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  RecordingModel(Model& inner, std::string path, std::FILE* file)
      : inner_(inner), path_(std::move(path)), file_(file) {}
  void Write(std::string_view bytes);
  void WriteRecord(char kind, std::string_view bytes);

  Model& inner_;
  const std::string path_;
  std::unique_ptr<std::FILE, Close> file_;  // null once it has failed
  std::optional<Step> step_;                // of `inner`
};

// What a replay found.
struct Replayed {
  int steps = 0;
  int results = 0;      // of those, with a result in the recording
  int first_other = 0;  // the first step, counted from 1, that gave another result; 0: none
};

// Runs a recording on `model`, whose cache must be as the recorded one was when the recording began, as that
// of a fresh model is, and whose adapters, with the same slots, are in `held`. Stops at the first result that
// differs. INVALID_ARGUMENT for bytes that are no recording of steps that the model can run; errors of a
// step.
absl::StatusOr<Replayed> ReplaySteps(std::string_view recording, Model& model, const DeviceAdapters& held);
// The limits in a recording's header, with which a model must be made for its steps.
absl::StatusOr<ModelLimits> LimitsOfRecording(std::string_view recording);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_STEP_RECORD_H_
