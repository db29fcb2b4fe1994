// One prompt being continued: its tokens, its KV blocks and where it stands.
#ifndef HYDRAD_SERVER_SCHEDULER_SEQUENCE_H_
#define HYDRAD_SERVER_SCHEDULER_SEQUENCE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "server/kv/block_table.h"
#include "server/kv/prefix_index.h"
#include "server/scheduler/expert_route.h"
#include "server/scheduler/output_text.h"
#include "server/scheduler/policy.h"
#include "server/scheduler/request.h"

namespace hydrad {

// Tokens that end a sequence, in the form in which they are looked up at each draw. An answer that must have
// a form (`formed`) can end with them only.
struct EndTokens {
  EndTokens(const Stopping& stopping, std::span<const int32_t> eos, bool formed);

  std::vector<int32_t> eos;      // of the model; empty with ignore_eos, unless the answer is formed
  std::vector<int32_t> stop;     // of the request
  std::vector<int32_t> banned;   // both: not to be drawn below min_tokens
  std::vector<int32_t> avoided;  // not to be drawn later: of a formed answer, the model's with ignore_eos
};

// What adapts the rows of a sequence, as Batch::Run has it.
struct AdaptedBy {
  const DeviceAdapter* adapter = nullptr;  // null: nothing
  std::span<const int32_t> by_layer{};     // [layers] slots, where the layers use different adapters
  bool decided_by_probe = false;           // they will, and the sequence's probe says which
  int order = 0;  // of one adapter generation, rows of equal order belong side by side
};

// The tokens are the prompt's, then the generated ones; the first computed() of them have their K/V in
// blocks(). A draw needs all of them and leaves the new ones uncomputed, so a decoding sequence has no more
// pending than it has absorbed last: one, where one is drawn at a time. Where the route of the request
// (expert_route.h) asks for it, the prompt is run once more before all that, only for the routers to see it:
// the routing pass, after which nothing is computed yet. Owned by the scheduler thread. Keeps the addresses
// of the request, its end tokens and its route, which must outlive it.
class Sequence {
 public:
  enum class State {
    kWaiting,   // holds no blocks
    kRunning,   // may hold blocks; runs in every step for which the policy picks it
    kFinished,  // has drawn its last token; holds its blocks until it gives them back
  };            // kWaiting -> kRunning -> kFinished; kRunning -> kWaiting by preemption

  // `choice` draws with the request's seed + choice. The tokenizer must outlive the sequence.
  Sequence(SequenceId id, const Request& request, const EndTokens& end_tokens, int choice,
           const Tokenizer& tokenizer);
  // Sets by what the adapter picks one of its experts, before the sequence first starts; null for other
  // adapters.
  void set_route(ExpertRoute* route) { route_ = route; }

  SequenceId id() const { return id_; }
  int choice() const { return choice_; }
  const Request& request() const { return request_; }
  State state() const { return state_; }
  // Returns what the policy wants to know; `tenant` is the request's.
  SequenceView View(TenantId tenant) const;
  // Returns what View will give once `rows` more tokens have run and, if that leaves none, one has been drawn
  // that does not end the sequence. nullopt while that depends on more: on logits of the prompt or on a
  // router.
  std::optional<SequenceView> Foresee(TenantId tenant, int rows) const;
  // Returns how many prompt tokens the next `rows` run for the first time, as Advance will.
  int FreshTokens(int rows) const;

  // Which of its K/V are the same for other sequences with the same tokens: see prefix_cache.h.
  struct Cacheable {
    enum class By { kBase, kAdapted } by = By::kAdapted;  // what runs the tokens
    int find = 0;  // the first so many tokens need not be computed if they are there already
    int keep = 0;  // the first so many are computed, and may be used by others
  };
  // Before the adapter is bound, nothing is known of one that counts from its invocation on, or picks an
  // expert.
  Cacheable cacheable() const;
  // By number, what the route has picked: one, or one for each layer. Empty for other adapters, and before.
  std::vector<int> experts() const;
  // The first `count` of all tokens. REQUIRES: count <= length().
  std::vector<int32_t> Tokens(int count) const;

  int length() const { return static_cast<int>(request_.prompt.size() + generated_.size()); }
  int32_t token(int position) const;
  int computed() const { return computed_; }  // tokens whose K/V are in the cache
  // The tokens left to run are those absorbed last, or one.
  bool decoding() const { return !generated_.empty() && length() - computed_ <= absorbed_; }
  std::span<const int32_t> generated() const { return generated_; }
  std::span<const int32_t> blocks() const { return blocks_.ids(); }

  // Returns the first position that the request's adapter changes: 0, but for an aLoRA the place in the
  // prompt where its invocation stands last, and INT_MAX in a prompt without it. REQUIRES: has started.
  int adapter_begin() const;
  // Whether the prompt is being run for the routers only; and for that, on the base model.
  bool routing() const;
  bool routes_on_base() const { return route_ != nullptr && !route_->decided() && route_->on_base(); }
  // > 0: so many of its first rows must run in one step.
  int unsplit() const;
  // Returns what the `term`-th adapter of the request does to the rows of the next step.
  AdaptedBy adapted_by(size_t term = 0) const;
  // Adds to `batch` the probe of what routers are to see of the next `rows` rows, which begin with row `row`
  // of the batch. Returns false where that is nothing.
  bool AddProbe(int rows, int row, Batch* batch) const;
  // Takes what that probe found out. REQUIRES: Advance has not been called since.
  void Saw(const Routed& routed) { route_->Saw(routed); }

  // Returns the first position whose logits are wanted. From there on they are all wanted: those before the
  // last of the prompt are scored, the last one is drawn from. No position of the prompt in the routing pass.
  int first_logit() const;
  // Notes that the prompt's token after `position` now has its log-probability.
  void Scored(int position) { scored_ = position + 1; }

  // REQUIRES: kWaiting, the request's adapters are bound, and stay so.
  void Start();
  // Counts a step in which it was its turn to start and there was no room.
  void Skip() { ++times_skipped_; }
  // Makes the full blocks of the first `tokens` known to `ns`; what PrefixIndex::Insert returns. REQUIRES:
  // they are computed.
  bool Share(PrefixIndex& index, PrefixIndex::Namespace ns, int tokens);
  // Holds what `ns` has of the first `tokens`, which count as computed from now on, and returns how many they
  // are. REQUIRES: kRunning, holds no blocks; tokens < length().
  int BeginWith(PrefixIndex& index, PrefixIndex::Namespace ns, int tokens);
  // Takes blocks for the next `rows` tokens. Returns false, and keeps the blocks taken so far, when the pool
  // is empty.
  bool Reserve(int rows, int block_size, BlockPool& pool);
  // Notes that `rows` more tokens have their K/V in the cache. Returns how many prompt tokens of them ran for
  // the first time, the routing pass and the adapted one counted apart.
  int Advance(int rows);
  // Makes the last `n` tokens count as not computed: they are to be run again. Their blocks are kept.
  // REQUIRES: none of them is in a block that other choices share.
  void Rollback(int n, int block_size);
  // Nothing counts as computed any more.
  void GiveBlocksBack();
  // Gives the blocks back; what was generated stays, and is computed again later.
  void Preempt();

  // Whether the tokens that the answer's form allows next are known (AnswerMatcher::Ready); true where it has
  // no form. The sequence must not draw before.
  bool MaskReady(TimePoint limit) { return mask_ready_ || (mask_ready_ = matcher_->Ready(limit)); }
  bool awaits_mask() const { return !mask_ready_; }
  // Returns OK, or why the answer cannot go on. REQUIRES: the mask is ready.
  absl::Status mask_status() const;

  // Returns what to draw the next token by. Its spans hold until the next Absorb. What a form allows comes
  // before min_tokens and ignore_eos: where it leaves end tokens only, they are not banned. REQUIRES: the
  // mask is ready, and its status OK.
  SampleRow sample_row() const;
  // Takes the tokens that come next, at least one, up to the one that ends the sequence; those behind it
  // count for nothing. The piece may be empty; its `finished` tells that the sequence has ended.
  OutputPiece Absorb(std::span<Sampled> drawn);

 private:
  void Transition(State from, State to);
  bool scores_prompt() const;
  std::optional<FinishReason> Take(Sampled drawn);

  const SequenceId id_;
  const Request& request_;
  const EndTokens& end_tokens_;
  const int choice_;
  std::optional<int> adapter_begin_;  // of the generation that the request is bound to
  ExpertRoute* route_ = nullptr;
  State state_ = State::kWaiting;
  std::vector<int32_t> generated_;
  BlockTable blocks_;
  int computed_ = 0;
  int absorbed_ = 1;     // tokens, by the last Absorb since the sequence was last preempted
  int prompt_seen_ = 0;  // prompt tokens that have ever been computed
  int routed_seen_ = 0;  // likewise, by the routing pass
  int scored_ = 0;       // prompt tokens 1..scored_ have their log-probabilities
  int times_skipped_ = 0;
  bool preempted_ = false;
  std::unique_ptr<AnswerMatcher> matcher_;  // null: the answer has no form
  bool mask_ready_;
  OutputText output_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_SEQUENCE_H_
