// What sequences leave behind in the KV cache for those that come after them.
#ifndef HYDRAD_SERVER_SCHEDULER_PREFIX_CACHE_H_
#define HYDRAD_SERVER_SCHEDULER_PREFIX_CACHE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "server/kv/prefix_index.h"

namespace hydrad {

class Sequence;

// Decides which sequences may use the same blocks, and gives each such set a namespace of the index
// (kv/prefix_index.h). K/V depend on the tokens, on who may share them (Request::cache_group), and on what
// adapts the rows: the generations of the request's adapters with their weights and its top_k, and the
// experts that a router has picked. Whoever differs in one of these finds nothing. A generation that is
// replaced or unloaded is bound by no new request, so its blocks are out of reach from then on, and are
// reclaimed before those that are still asked for.
//
// On the CPU a sequence that starts from the cache gets bit for bit what it would have computed itself. These
// compute it all the same: prompts whose tokens are scored, requests that ask how routers weighed their
// prompt, prompts that must run in one step, and the daemon's own tests. An aLoRA shares with the base model
// what stands before its invocation, and so does the routing pass of an adapter that picks an expert.
//
// Owned by the scheduler thread. The index must outlive it.
class PrefixCache {
 public:
  using Namespace = PrefixIndex::Namespace;

  // `shared`: between requests. Otherwise only the choices of one request start from the same blocks.
  PrefixCache(PrefixIndex& index, bool shared) : index_(index), shared_(shared) {}

  // What a sequence can begin with.
  struct Found {
    int tokens = 0, blocks = 0;
    int reclaims = 0;  // of the blocks, those that nobody holds: they count as free until they are taken
  };
  // Changes nothing. Until the adapters are bound, it goes by the generations that serve now, which may find
  // less than Take does later, or more.
  Found Find(const Sequence& sequence) const;
  // The sequence holds what Find finds, and counts it as computed. Returns how many tokens these are, nullopt
  // where it must compute everything. REQUIRES: it runs, and holds no blocks.
  std::optional<int> Take(Sequence& sequence);
  // Others may begin with the full blocks that the sequence has computed. False if it now holds other blocks
  // than before, with the same in them. REQUIRES: its adapters are bound.
  bool Keep(Sequence& sequence);
  // Keeps the routing pass of a prompt, which is over, and lets go of its blocks: the prompt runs again,
  // adapted, and begins with what there is of that. Returns what Take returns.
  std::optional<int> Rerun(Sequence& sequence);

  // The choices of a request begin with the prompt's blocks of the first one, which has run it: between these
  // two, by Join. REQUIRES of Join: as Take.
  Namespace Open(Sequence& first);
  void Join(Sequence& choice, Namespace ns);
  void Close();

  size_t groups() const { return numbers_.size(); }  // of sequences that share

 private:
  // The number of a key, a new one for a new key.
  Namespace NumberOf(const std::string& key);

  static constexpr size_t kFewNumbers = 1024;

  PrefixIndex& index_;
  const bool shared_;
  std::unordered_map<std::string, Namespace> numbers_;
  size_t sweep_at_ = kFewNumbers;  // when there are so many, those without blocks go
  Namespace last_ = 0;
  std::optional<Namespace> own_;  // between Open and Close, of a request whose blocks nobody else may find
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_SCHEDULER_PREFIX_CACHE_H_
