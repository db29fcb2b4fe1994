#include "server/scheduler/prefix_cache.h"

#include <algorithm>
#include <bit>
#include <string_view>
#include <utility>

#include "server/scheduler/sequence.h"

namespace hydrad {
namespace {

void Append(std::string* key, uint64_t number) {
  key->append(reinterpret_cast<const char*>(&number), sizeof number);
}

// Names and groups hold no zero byte.
void Append(std::string* key, std::string_view text) { key->append(text).push_back('\0'); }

// All that the K/V of the sequence depend on beside its tokens.
std::string KeyOf(const Sequence& sequence, Sequence::Cacheable::By by) {
  const Request& request = sequence.request();
  std::string key;
  Append(&key, request.cache_group);
  if (by == Sequence::Cacheable::By::kBase || !request.adapter) return key;
  Append(&key, request.adapters());
  for (size_t i = 0; i < request.adapters(); ++i) {
    const AdapterHandle& adapter = request.adapter_at(i);
    Append(&key, adapter.name());
    Append(&key, adapter.bound() ? adapter.generation() : adapter.serving());
    Append(&key, std::bit_cast<uint32_t>(request.weight_at(i)));
  }
  Append(&key, static_cast<uint64_t>(request.adapter_top_k));
  for (const int expert : sequence.experts()) Append(&key, static_cast<uint64_t>(expert));
  return key;
}

}  // namespace

PrefixCache::Found PrefixCache::Find(const Sequence& sequence) const {
  const Sequence::Cacheable part = sequence.cacheable();
  if (!shared_ || part.find == 0) return {};
  const auto number = numbers_.find(KeyOf(sequence, part.by));
  if (number == numbers_.end()) return {};
  Found found;
  found.blocks = index_.Match(number->second, sequence.Tokens(part.find), &found.reclaims);
  found.tokens = found.blocks * index_.block_size();
  return found;
}

std::optional<int> PrefixCache::Take(Sequence& sequence) {
  const Sequence::Cacheable part = sequence.cacheable();
  if (!shared_ || part.find == 0) return std::nullopt;
  return sequence.BeginWith(index_, NumberOf(KeyOf(sequence, part.by)), part.find);
}

bool PrefixCache::Keep(Sequence& sequence) {
  const Sequence::Cacheable part = sequence.cacheable();
  if (!shared_ || part.keep < index_.block_size()) return true;
  return sequence.Share(index_, NumberOf(KeyOf(sequence, part.by)), part.keep);
}

std::optional<int> PrefixCache::Rerun(Sequence& sequence) {
  if (!shared_) return std::nullopt;
  const int prompt = static_cast<int>(sequence.request().prompt.size());
  sequence.Share(index_, NumberOf(KeyOf(sequence, Sequence::Cacheable::By::kBase)), prompt);
  sequence.GiveBlocksBack();
  return Take(sequence);
}

PrefixCache::Namespace PrefixCache::Open(Sequence& first) {
  const Sequence::Cacheable part = first.cacheable();
  const int prompt = static_cast<int>(first.request().prompt.size());
  const bool whole = shared_ && part.keep >= prompt;
  const Namespace ns = whole ? NumberOf(KeyOf(first, part.by)) : ++last_;
  if (!whole) own_ = ns;
  first.Share(index_, ns, prompt - 1);
  return ns;
}

void PrefixCache::Join(Sequence& choice, Namespace ns) {
  choice.BeginWith(index_, ns, static_cast<int>(choice.request().prompt.size()) - 1);
}

void PrefixCache::Close() {
  if (own_) index_.Evict(*std::exchange(own_, std::nullopt));
}

PrefixCache::Namespace PrefixCache::NumberOf(const std::string& key) {
  if (numbers_.size() >= sweep_at_) {
    std::erase_if(numbers_, [this](const auto& item) { return !index_.Knows(item.second); });
    sweep_at_ = std::max(kFewNumbers, 2 * numbers_.size());
  }
  const auto [at, is_new] = numbers_.try_emplace(key, last_ + 1);
  if (is_new) ++last_;
  return at->second;
}

}  // namespace hydrad
