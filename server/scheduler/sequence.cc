#include "server/scheduler/sequence.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <utility>

#include "server/base/check.h"

namespace hydrad {
namespace {

bool Contains(std::span<const int32_t> tokens, int32_t token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

int AdapterBegin(const std::vector<int32_t>& prompt, std::span<const int32_t> invocation) {
  if (invocation.empty()) return 0;
  const auto last = std::find_end(prompt.begin(), prompt.end(), invocation.begin(), invocation.end());
  return last == prompt.end() ? INT_MAX : static_cast<int>(last - prompt.begin());
}

Detokenizer TextBehindPrompt(const Request& request, const Tokenizer& tokenizer) {
  if (request.behind_prompt) return *request.behind_prompt;
  return Detokenizer(tokenizer, request.output.skip_special_tokens, request.prompt, nullptr,
                     request.output.kept_tokens);
}

// Whether a token is left of those that the mask allows, without the banned ones.
bool LeavesToken(std::span<const uint32_t> mask, std::span<const int32_t> banned) {
  int left = 0;
  for (size_t i = 0; i < banned.size(); ++i) {
    const auto token = static_cast<size_t>(banned[i]);
    const bool allowed = token / 32 < mask.size() && (mask[token / 32] >> (token % 32) & 1) != 0;
    left -= allowed && !Contains(banned.first(i), banned[i]) ? 1 : 0;
  }
  for (size_t i = 0; i < mask.size() && left <= 0; ++i) left += std::popcount(mask[i]);
  return left > 0;
}

}  // namespace

EndTokens::EndTokens(const Stopping& stopping, std::span<const int32_t> model_eos, bool formed)
    : stop(stopping.stop_ids) {
  if (!stopping.ignore_eos || formed) eos.assign(model_eos.begin(), model_eos.end());
  if (stopping.ignore_eos) avoided = eos;
  banned = eos;
  banned.insert(banned.end(), stop.begin(), stop.end());
}

Sequence::Sequence(SequenceId id, const Request& request, const EndTokens& end_tokens, int choice,
                   const Tokenizer& tokenizer)
    : id_(id),
      request_(request),
      end_tokens_(end_tokens),
      choice_(choice),
      matcher_(request.form == nullptr ? nullptr : request.form->Start(choice)),
      mask_ready_(matcher_ == nullptr),
      output_(TextBehindPrompt(request, tokenizer), request.stopping, request.output) {}

SequenceView Sequence::View(TenantId tenant) const {
  SequenceView view;
  view.id = id_;
  view.tenant = tenant;
  view.computed = computed_;
  view.pending = (routing() ? static_cast<int>(request_.prompt.size()) : length()) - computed_;
  view.unsplit = unsplit();
  view.decoding = decoding();
  view.first_logit = first_logit();
  view.blocks = blocks_.size();
  view.freed = blocks_.exclusive();
  view.preempted = preempted_;
  view.times_skipped = times_skipped_;
  return view;
}

std::optional<SequenceView> Sequence::Foresee(TenantId tenant, int rows) const {
  if (scores_prompt() || (route_ != nullptr && !route_->decided())) return std::nullopt;
  SequenceView view = View(tenant);
  view.computed += rows;
  view.pending -= rows;
  if (view.pending > 0) {
    view.decoding = !generated_.empty() && view.pending <= absorbed_;
  } else {
    view.pending = 1;
    view.decoding = true;
    view.first_logit = length();
  }
  return view;
}

int32_t Sequence::token(int position) const {
  const size_t at = static_cast<size_t>(position), prompt = request_.prompt.size();
  return at < prompt ? request_.prompt[at] : generated_[at - prompt];
}

bool Sequence::scores_prompt() const {
  return request_.output.prompt_logprobs >= 0 && choice_ == 0 &&
         scored_ < static_cast<int>(request_.prompt.size()) - 1;
}

int Sequence::first_logit() const {
  if (routing()) return static_cast<int>(request_.prompt.size());
  return scores_prompt() ? scored_ : length() - 1;
}

// A prompt whose tokens are scored is wanted in pieces: there may be more of them than logits in a step.
bool Sequence::routing() const {
  return route_ != nullptr && !route_->decided() && (route_->on_base() || scores_prompt());
}

int Sequence::unsplit() const {
  const bool picks = route_ != nullptr && !route_->decided() && !route_->on_base();
  return picks ? static_cast<int>(request_.prompt.size()) : 0;
}

AdaptedBy Sequence::adapted_by(size_t term) const {
  if (term >= request_.adapters()) return {};
  if (route_ == nullptr) return {.adapter = request_.adapter_at(term).device()};
  return {.adapter = route_->adapter(),
          .by_layer = route_->by_layer(),
          .decided_by_probe = route_->picks_by_layer() && !route_->decided(),
          .order = route_->order()};
}

bool Sequence::AddProbe(int rows, int row, Batch* batch) const {
  return route_ != nullptr && route_->AddProbe(computed_, rows, row, batch);
}

int Sequence::adapter_begin() const {
  HYDRAD_CHECK(adapter_begin_.has_value());
  return *adapter_begin_;
}

void Sequence::Start() {
  Transition(State::kWaiting, State::kRunning);
  if (!adapter_begin_) adapter_begin_ = AdapterBegin(request_.prompt, request_.adapter.invocation());
  times_skipped_ = 0;
}

// What needs every row of the prompt finds nothing, whether it is there or not.
Sequence::Cacheable Sequence::cacheable() const {
  if (request_.self_test) return {};
  const int prompt = static_cast<int>(request_.prompt.size());
  const bool reports = request_.output.routing && request_.adapter;
  if (route_ != nullptr && !route_->decided()) {
    if (!routes_on_base()) return {};
    return {Cacheable::By::kBase, route_->sees_all() || reports ? 0 : prompt - 1,
            std::min(computed_, prompt)};
  }
  Cacheable part{.find = scores_prompt() || reports ? 0 : length() - 1, .keep = computed_};
  const std::span<const int32_t> invocation =
      request_.adapter.bound() ? request_.adapter.invocation() : std::span<const int32_t>();
  if (invocation.empty()) return part;
  const int begin = AdapterBegin(request_.prompt, invocation);
  if (request_.n > 1 && begin < prompt) return {};  // the choices share its adapted rows, among themselves
  return {Cacheable::By::kBase, std::min(part.find, begin), std::min(part.keep, begin)};
}

std::vector<int> Sequence::experts() const {
  return route_ == nullptr ? std::vector<int>() : route_->experts();
}

std::vector<int32_t> Sequence::Tokens(int count) const {
  const auto begin = request_.prompt.begin();
  const int of_prompt = std::min(count, static_cast<int>(request_.prompt.size()));
  std::vector<int32_t> tokens(begin, begin + of_prompt);
  tokens.insert(tokens.end(), generated_.begin(), generated_.begin() + (count - of_prompt));
  return tokens;
}

bool Sequence::Share(PrefixIndex& index, PrefixIndex::Namespace ns, int tokens) {
  return index.Insert(ns, Tokens(tokens), blocks_);
}

int Sequence::BeginWith(PrefixIndex& index, PrefixIndex::Namespace ns, int tokens) {
  HYDRAD_CHECK(state_ == State::kRunning && computed_ == 0 && tokens < length());
  computed_ = index.Hold(ns, Tokens(tokens), blocks_) * index.block_size();
  int& seen = routing() ? routed_seen_ : prompt_seen_;
  seen = std::max(seen, std::min(computed_, static_cast<int>(request_.prompt.size())));
  return computed_;
}

void Sequence::GiveBlocksBack() {
  blocks_.Clear();
  computed_ = 0;
}

bool Sequence::Reserve(int rows, int block_size, BlockPool& pool) {
  return blocks_.GrowTo((computed_ + rows + block_size - 1) / block_size, pool);
}

int Sequence::FreshTokens(int rows) const {
  const int seen = routing() ? routed_seen_ : prompt_seen_;
  return std::max(0, std::min(computed_ + rows, static_cast<int>(request_.prompt.size())) - seen);
}

int Sequence::Advance(int rows) {
  const int prompt = static_cast<int>(request_.prompt.size()), fresh = FreshTokens(rows);
  computed_ += rows;
  (routing() ? routed_seen_ : prompt_seen_) += fresh;
  if (route_ != nullptr && !route_->decided() && computed_ >= prompt) {
    if (routing()) computed_ = 0;  // to be run again, in the blocks that it has
    route_->Decide();
  }
  return fresh;
}

void Sequence::Rollback(int n, int block_size) {
  HYDRAD_CHECK(n >= 0 && n <= computed_ && computed_ - n >= blocks_.shareable() * block_size);
  computed_ -= n;
}

void Sequence::Preempt() {
  Transition(State::kRunning, State::kWaiting);
  GiveBlocksBack();
  absorbed_ = 1;
  preempted_ = true;
  if (route_ != nullptr && !route_->decided()) route_->Restart();
}

absl::Status Sequence::mask_status() const {
  return matcher_ == nullptr ? absl::OkStatus() : matcher_->Mask().status();
}

SampleRow Sequence::sample_row() const {
  const bool below = static_cast<int>(generated_.size()) < request_.stopping.min_tokens;
  std::span<const int32_t> banned = below ? end_tokens_.banned : end_tokens_.avoided;
  std::span<const uint32_t> allowed;
  if (matcher_ != nullptr) {
    allowed = *matcher_->Mask();
    if (!LeavesToken(allowed, banned)) banned = {};
  }
  return {.params = &request_.sampling,
          .prompt = request_.prompt,
          .generated = generated_,
          .banned = banned,
          .seed = request_.seed + static_cast<uint64_t>(choice_),
          .step = generated_.size(),
          .top_logprobs = request_.output.top_logprobs,
          .allowed = allowed};
}

OutputPiece Sequence::Absorb(std::span<Sampled> drawn) {
  HYDRAD_CHECK(matcher_ == nullptr || drawn.size() == 1);  // the next one's mask is not known yet
  std::optional<FinishReason> reason;
  absorbed_ = 0;
  for (size_t i = 0; i < drawn.size() && !reason; ++i, ++absorbed_) {
    generated_.push_back(drawn[i].token);
    reason = Take(std::move(drawn[i]));
    if (matcher_ != nullptr && !reason) {
      matcher_->Accept(generated_.back());
      mask_ready_ = false;
    }
  }
  OutputPiece piece = reason ? output_.Finish(*reason) : output_.Take();
  piece.choice = choice_;
  if (reason) Transition(State::kRunning, State::kFinished);
  return piece;
}

std::optional<FinishReason> Sequence::Take(Sampled drawn) {
  const int count = static_cast<int>(generated_.size());
  const bool eos = Contains(end_tokens_.eos, drawn.token);
  if (eos || Contains(end_tokens_.stop, drawn.token)) {
    output_.AddSilent(std::move(drawn));
    return eos ? FinishReason::kStop : FinishReason::kStopToken;
  }
  if (output_.Add(std::move(drawn), count >= request_.stopping.min_tokens)) return FinishReason::kStopString;
  if (count >= request_.stopping.max_tokens) return FinishReason::kLength;
  return std::nullopt;
}

void Sequence::Transition(State from, State to) {
  HYDRAD_CHECK(state_ == from);
  state_ = to;
}

}  // namespace hydrad
