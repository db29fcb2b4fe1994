#include "server/model/step_record.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

#include "server/base/invalid_argument.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr std::string_view kMagic = "hydrad steps 2\n";
constexpr char kStep = 'S', kResult = 'R';

class Writer {
 public:
  template <class V>
  void Put(V value) {
    static_assert(std::is_arithmetic_v<V>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <class V>
  void PutAll(std::span<const V> values) {
    static_assert(std::has_unique_object_representations_v<V> || std::is_floating_point_v<V>);
    Put(static_cast<uint32_t>(values.size()));
    bytes_.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  }
  template <class V>
  void PutAll(const std::vector<V>& values) {
    PutAll(std::span<const V>(values));
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads what a Writer wrote. Beyond the end everything is 0 and empty, and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}

  template <class V>
  V Get() {
    V value{};
    Take(&value, sizeof value);
    return value;
  }
  template <class V>
  void GetAll(std::vector<V>* values) {
    values->clear();
    const auto count = Get<uint32_t>();
    if (count > left_.size() / sizeof(V)) ok_ = false;
    if (!ok_) return;
    values->resize(count);
    Take(values->data(), count * sizeof(V));
  }
  std::string_view GetBytes(uint64_t size) {
    if (size > left_.size()) ok_ = false;
    if (!ok_) return {};
    const std::string_view bytes = left_.substr(0, size);
    left_.remove_prefix(size);
    return bytes;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return left_.empty(); }

 private:
  void Take(void* to, size_t size) {
    const std::string_view bytes = GetBytes(size);
    if (ok_ && size > 0) std::memcpy(to, bytes.data(), size);
  }

  std::string_view left_;
  bool ok_ = true;
};

void PutBatch(const Batch& batch, Writer& out) {
  for (const auto* values : {&batch.tokens, &batch.positions, &batch.slots, &batch.block_tables,
                             &batch.term_begin, &batch.layer_adapters, &batch.logit_rows}) {
    out.PutAll(*values);
  }
  out.PutAll(batch.segments);
  out.PutAll(batch.probe_sums);
  out.Put(static_cast<uint32_t>(batch.runs.size()));
  for (const Batch::Run& r : batch.runs) {
    for (const int32_t v : {r.row_begin, r.row_end, r.adapter, r.top_k, r.gates, r.by_layer, r.decided_by})
      out.Put(v);
    out.Put(r.weight);
  }
  out.Put(static_cast<uint32_t>(batch.probes.size()));
  for (const Batch::Probe& p : batch.probes) {
    for (const int32_t v : {p.row_begin, p.row_end, p.router, p.sums_begin, p.pooled, int32_t{p.decides}})
      out.Put(v);
  }
}

void GetBatch(Reader& in, Batch* batch) {
  for (auto* values : {&batch->tokens, &batch->positions, &batch->slots, &batch->block_tables,
                       &batch->term_begin, &batch->layer_adapters, &batch->logit_rows}) {
    in.GetAll(values);
  }
  in.GetAll(&batch->segments);
  in.GetAll(&batch->probe_sums);
  for (auto count = in.Get<uint32_t>(); count > 0 && in.ok(); --count) {
    Batch::Run& r = batch->runs.emplace_back();
    for (int32_t* v : {&r.row_begin, &r.row_end, &r.adapter, &r.top_k, &r.gates, &r.by_layer, &r.decided_by})
      *v = in.Get<int32_t>();
    r.weight = in.Get<float>();
  }
  for (auto count = in.Get<uint32_t>(); count > 0 && in.ok(); --count) {
    Batch::Probe& p = batch->probes.emplace_back();
    for (int32_t* v : {&p.row_begin, &p.row_end, &p.router, &p.sums_begin, &p.pooled}) *v = in.Get<int32_t>();
    p.decides = in.Get<int32_t>() != 0;
  }
}

void PutDraw(const Draw& draw, Writer& out) {
  const SampleRow& row = draw.row;
  const SamplingParams& p = *row.params;
  out.Put(draw.index);
  for (const float v :
       {p.temperature, p.top_p, p.min_p, p.repetition_penalty, p.presence_penalty, p.frequency_penalty})
    out.Put(v);
  out.Put(static_cast<int32_t>(p.top_k));
  out.Put(static_cast<uint32_t>(p.logit_bias.size()));
  for (const SamplingParams::Bias& bias : p.logit_bias) out.Put(bias.token), out.Put(bias.bias);
  for (const auto& tokens : {row.prompt, row.generated, row.banned}) out.PutAll(tokens);
  out.Put(row.seed);
  out.Put(row.step);
  out.Put(static_cast<int32_t>(row.top_logprobs));
  out.PutAll(row.allowed);
}

void GetDraw(Reader& in, RecordedDraw* draw) {
  SamplingParams& p = draw->params;
  draw->index = in.Get<int32_t>();
  for (float* v :
       {&p.temperature, &p.top_p, &p.min_p, &p.repetition_penalty, &p.presence_penalty, &p.frequency_penalty})
    *v = in.Get<float>();
  p.top_k = in.Get<int32_t>();
  for (auto count = in.Get<uint32_t>(); count > 0 && in.ok(); --count) {
    const auto token = in.Get<int32_t>();
    p.logit_bias.push_back({token, in.Get<float>()});
  }
  for (auto* tokens : {&draw->prompt, &draw->generated, &draw->banned}) in.GetAll(tokens);
  draw->seed = in.Get<uint64_t>();
  draw->step = in.Get<uint64_t>();
  draw->top_logprobs = in.Get<int32_t>();
  in.GetAll(&draw->allowed);
}

void PutSampled(std::span<const Sampled> all, Writer& out) {
  out.Put(static_cast<uint32_t>(all.size()));
  for (const Sampled& sampled : all) {
    out.Put(sampled.token);
    out.Put(sampled.logprob);
    out.Put(static_cast<uint32_t>(sampled.top.size()));
    for (const TokenLogprob& top : sampled.top) out.Put(top.token), out.Put(top.logprob);
  }
}

std::string Header(const ModelLimits& limits) {
  Writer out;
  for (const int v :
       {limits.max_rows, limits.max_logit_rows, limits.max_context, limits.block_size, limits.kv_blocks})
    out.Put(static_cast<int32_t>(v));
  return std::string(kMagic) + out.Take();
}

}  // namespace

Draw RecordedDraw::View() const {
  return {index,
          {.params = &params,
           .prompt = prompt,
           .generated = generated,
           .banned = banned,
           .seed = seed,
           .step = step,
           .top_logprobs = top_logprobs,
           .allowed = allowed}};
}

std::string EncodeStep(const Batch& batch, std::span<const Draw> draws, std::span<const ScoreRow> scores) {
  Writer out;
  PutBatch(batch, out);
  out.PutAll(scores);
  out.Put(static_cast<uint32_t>(draws.size()));
  for (const Draw& draw : draws) PutDraw(draw, out);
  return out.Take();
}

std::string EncodeResult(const StepResult& result) {
  Writer out;
  PutSampled(result.sampled, out);
  PutSampled(result.scores, out);
  for (const std::span<const float> gates : result.gates) out.PutAll(gates);
  for (const Routed& routed : result.routes) out.PutAll(routed.sums), out.PutAll(routed.picks);
  return out.Take();
}

absl::StatusOr<RecordedStep> DecodeStep(std::string_view bytes) {
  Reader in(bytes);
  RecordedStep step;
  GetBatch(in, &step.batch);
  in.GetAll(&step.scores);
  for (auto count = in.Get<uint32_t>(); count > 0 && in.ok(); --count) {
    GetDraw(in, &step.draws.emplace_back());
  }
  if (!in.ok() || !in.at_end()) return InvalidArgument("a step has more or fewer bytes than it says");
  return step;
}

absl::StatusOr<std::unique_ptr<RecordingModel>> RecordingModel::Open(Model& inner, const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return InvalidArgument("cannot record steps to '{}': {}", path, std::strerror(errno));
  std::unique_ptr<RecordingModel> model(new RecordingModel(inner, path, file));
  model->Write(Header(inner.limits()));
  return model;
}

Step RecordingModel::Launch(const Batch& batch, std::span<const Draw> draws,
                            std::span<const ScoreRow> scores) {
  WriteRecord(kStep, EncodeStep(batch, draws, scores));
  step_.emplace(inner_.Launch(batch, draws, scores));
  return Step(*this);
}

absl::StatusOr<StepResult> RecordingModel::Finish() {
  ASSIGN_OR_RETURN(const StepResult result, step_->Wait());
  WriteRecord(kResult, EncodeResult(result));
  return result;
}

void RecordingModel::WriteRecord(char kind, std::string_view bytes) {
  Writer head;
  head.Put(kind);
  head.Put(static_cast<uint64_t>(bytes.size()));
  Write(head.Take());
  Write(bytes);
}

void RecordingModel::Write(std::string_view bytes) {
  if (file_ == nullptr) return;
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) == bytes.size() &&
      std::fflush(file_.get()) == 0)
    return;
  Log()->error("steps are not recorded to '{}' any more: {}", path_, std::strerror(errno));
  file_.reset();
}

absl::StatusOr<ModelLimits> LimitsOfRecording(std::string_view recording) {
  Reader in(recording);
  if (in.GetBytes(kMagic.size()) != kMagic)
    return InvalidArgument("this is no recording of steps, version 2");
  ModelLimits limits;
  for (int* v :
       {&limits.max_rows, &limits.max_logit_rows, &limits.max_context, &limits.block_size, &limits.kv_blocks})
    *v = in.Get<int32_t>();
  if (!in.ok()) return InvalidArgument("the recording ends in its header");
  return limits;
}

absl::StatusOr<Replayed> ReplaySteps(std::string_view recording, Model& model, const DeviceAdapters& held) {
  RETURN_IF_ERROR(LimitsOfRecording(recording).status());
  Reader in(recording);
  in.GetBytes(Header({}).size());
  Replayed replayed;
  std::string result;
  while (!in.at_end()) {
    const char kind = in.Get<char>();
    const std::string_view bytes = in.GetBytes(in.Get<uint64_t>());
    if (!in.ok()) return InvalidArgument("the recording ends within a record, after step {}", replayed.steps);
    if (kind == kResult && replayed.steps > 0) {
      ++replayed.results;
      if (bytes == result) continue;
      replayed.first_other = replayed.steps;
      return replayed;
    }
    if (kind != kStep) return InvalidArgument("the recording has a record of an unknown kind");
    ASSIGN_OR_RETURN(const RecordedStep step, DecodeStep(bytes));
    ++replayed.steps;
    RETURN_IF_ERROR(Annotate(CheckStep(step, model.config(), model.limits(), held),
                             fmt::format("step {}", replayed.steps)));
    std::vector<Draw> draws;
    for (const RecordedDraw& draw : step.draws) draws.push_back(draw.View());
    ASSIGN_OR_RETURN(const StepResult got, model.Launch(step.batch, draws, step.scores).Wait());
    result = EncodeResult(got);
  }
  return replayed;
}

}  // namespace hydrad
