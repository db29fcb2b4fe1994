#include "server/http/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "server/backend/adapter_weights.h"  // kProjectionNames
#include "server/base/status.h"
#include "server/http/json_text.h"

namespace hydrad {
namespace {

Json RoutingObject(const AdapterRouting& routing) {
  Json routers = Json::array();
  for (const AdapterRouting::Router& router : routing.routers) {
    routers.push_back({{"layer", router.layer},
                       {"projection", kProjectionNames[static_cast<size_t>(router.projection)]},
                       {"mean", router.mean}});
  }
  Json choices = Json::array();
  for (const std::vector<int32_t>& top : routing.top) choices.push_back({{"top", top}});
  return {{"adapter", routing.adapter}, {"tokens", routing.rows}, {"routers", routers}, {"choices", choices}};
}

Json RouteObject(const RouteTaken& route) {
  Json out = {{"decision", Name(route.decision)}};
  if (!route.expert.empty()) out["expert"] = route.expert;
  if (!route.votes.empty()) out["votes"] = route.votes;
  return out;
}

}  // namespace

Json OwnObject(const AnswerHead& head, const OutputStart& start, const Usage& usage) {
  const auto generation = [&](size_t i) { return i < start.generations.size() ? start.generations[i] : 0; };
  Json out = {{"request_id", head.request_id}};
  if (!head.adapter.empty()) {
    out["adapter"] = head.adapter;
    out["generation"] = generation(0);
  }
  for (size_t i = 0; i < head.adapters.size(); ++i) {
    out["adapters"].push_back({{"name", head.adapters[i].name},
                               {"weight", head.adapters[i].weight},
                               {"generation", generation(i)}});
  }
  if (start.approximate) out["approximate"] = true;
  if (start.route) out["route"] = RouteObject(*start.route);
  for (const AdapterRouting& routing : usage.routing) out["routing"].push_back(RoutingObject(routing));
  out["queue_seconds"] = Seconds(usage.queue);
  out["prefill_seconds"] = Seconds(usage.prefill);
  out["decode_seconds"] = Seconds(usage.decode);
  return out;
}

// Of one prompt. A sink that is dropped before its end ends the answer, so that none is left without one.
class Answer::Sink final : public TokenSink {
 public:
  Sink(std::shared_ptr<Answer> answer, size_t prompt) : answer_(std::move(answer)), prompt_(prompt) {}
  ~Sink() override {
    if (!done_) answer_->OnDone(prompt_, Internal("the request was dropped"), {});
  }
  void OnStart(OutputStart start) override { answer_->OnStart(prompt_, std::move(start)); }
  bool OnPiece(OutputPiece piece) override { return answer_->OnPiece(prompt_, piece); }
  void OnDone(absl::Status status, const Usage& usage) override {
    done_ = true;
    answer_->OnDone(prompt_, status, usage);
  }

 private:
  const std::shared_ptr<Answer> answer_;
  const size_t prompt_;
  bool done_ = false;
};

Answer::Answer(Options options, std::vector<std::unique_ptr<AnswerShape>> shapes,
               std::shared_ptr<Reply> reply)
    : options_(std::move(options)), reply_(std::move(reply)) {
  for (auto& shape : shapes) parts_.push_back({.shape = std::move(shape)});
}

std::shared_ptr<TokenSink> Answer::SinkFor(size_t prompt, AnswerHead head) {
  MutexLock lock(&mu_);
  Part& part = parts_[prompt];
  if (head_.empty()) {
    // "req-" is what gRPC's clients know; here the kind of answer goes before the digits.
    const std::string digits = head.request_id.substr(head.request_id.find('-') + 1);
    head_ = fmt::format(R"({{"id":"{}{}","object":"{}","created":{},"model":{})", part.shape->id_prefix(),
                        digits, part.shape->object(options_.wishes.stream), options_.created,
                        Quoted(options_.wishes.model));
    reply_->SetName(head.request_id);
  }
  part.head = std::move(head);
  return std::make_shared<Sink>(shared_from_this(), prompt);
}

void Answer::OnStart(size_t prompt, OutputStart start) {
  MutexLock lock(&mu_);
  if (over_) return;  // the first piece tells the scheduler
  Part& part = parts_[prompt];
  int first_index = 0;
  for (size_t i = 0; i < prompt; ++i) first_index += part.head.choices;  // every prompt has as many
  part.begun = true;
  part.shape->Begin(part.head, start, first_index);
  part.head.echo = std::string();
  start.prompt_logprobs.clear();
  part.start = std::move(start);
  if (!options_.wishes.stream) return;
  if (const std::string first = part.shape->First(); !first.empty()) Send(first);
}

bool Answer::OnPiece(size_t prompt, const OutputPiece& piece) {
  MutexLock lock(&mu_);
  if (over_) return false;
  AnswerShape& shape = *parts_[prompt].shape;
  if (!options_.wishes.stream) return Charge(shape.Add(piece));
  const std::string delta = shape.Delta(piece);
  return delta.empty() || Send(delta);
}

void Answer::OnDone(size_t prompt, const absl::Status& status, const Usage& usage) {
  if (!status.ok()) return Fail(status);
  MutexLock lock(&mu_);
  Part& part = parts_[prompt];
  part.usage = usage;
  part.done = true;
  if (over_ || !std::ranges::all_of(parts_, [](const Part& each) { return each.done; })) return;
  over_ = true;
  End();
}

void Answer::Fail(const absl::Status& status) {
  {
    MutexLock lock(&mu_);
    if (std::exchange(over_, true)) return;
  }
  reply_->Fail(ErrorAnswer(status, options_.names));
  if (options_.cancel) options_.cancel();
}

bool Answer::Send(std::string_view choices) { return reply_->Event(Envelope(choices, /*last=*/false)); }

bool Answer::Charge(size_t bytes) {
  const auto& account = reply_->account();
  if (account == nullptr) return true;
  if (!account->Add(bytes)) {
    over_ = true;
    reply_->Fail(ErrorAnswer(account->TooLarge()));
    return false;
  }
  charged_ += bytes;
  return true;
}

void Answer::End() {
  const AnswerWishes& wishes = options_.wishes;
  if (wishes.stream) {
    if (wishes.include_usage || wishes.hydrad) reply_->Event(Envelope("", /*last=*/true));
    reply_->Event("[DONE]");
    return reply_->EndEvents();
  }
  std::string choices;
  for (Part& part : parts_) {
    if (!choices.empty()) choices += ',';
    choices += part.shape->Choices();
  }
  if (charged_ > 0) reply_->account()->Remove(std::exchange(charged_, 0));
  reply_->Send({.status = 200, .body = Envelope(choices, /*last=*/true)});
}

std::string Answer::Envelope(std::string_view choices, bool last) {
  std::string out;
  out.reserve(head_.size() + choices.size() + 64);
  out.append(head_).append(R"(,"choices":[)").append(choices).append("]");
  const AnswerWishes& wishes = options_.wishes;
  if (!wishes.stream || wishes.include_usage) out.append(R"(,"usage":)").append(last ? UsageText() : "null");
  if (last && wishes.hydrad) out.append(R"(,"hydrad":)").append(OwnText());
  return out += '}';
}

std::string Answer::UsageText() const {
  int prompt = 0, cached = 0, generated = 0;
  for (const Part& part : parts_) {
    prompt += part.usage.prompt_tokens;
    cached += part.usage.cached_tokens;
    generated += part.usage.generated_tokens;
  }
  return fmt::format(
      R"({{"prompt_tokens":{},"completion_tokens":{},"total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}})",
      prompt, generated, prompt + generated, cached);
}

std::string Answer::OwnText() const {
  Json all = Json::array();
  for (const Part& part : parts_) all.push_back(OwnObject(part.head, part.start, part.usage));
  return (parts_.size() == 1 ? all.front() : Json{{"prompts", all}}).dump();
}

}  // namespace hydrad
