#include "server/kv/prefix_index.h"

#include <algorithm>
#include <bit>

#include "server/base/check.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {

PrefixIndex::PrefixIndex(int block_size, BlockPool& pool, const HashKey& key)
    : block_size_(block_size),
      pool_(pool),
      key_(key),
      entries_(static_cast<size_t>(pool.total())),
      tokens_(entries_.size() * static_cast<size_t>(block_size)),
      buckets_(std::bit_ceil(entries_.size() + 1), -1) {
  HYDRAD_CHECK(block_size > 0);
  pool_.OnReclaim([this](int32_t block) {
    if (reclaimed_) reclaimed_(entries_[block].ns);
    Remove(block);
  });
}

std::span<const int32_t> PrefixIndex::TokensOf(int32_t block) const {
  const auto size = static_cast<size_t>(block_size_);
  return std::span(tokens_).subspan(static_cast<size_t>(block) * size, size);
}

int32_t PrefixIndex::Next(Namespace ns, std::span<const int32_t> tokens, Place* place) const {
  place->hash = KeyedHash(key_, place->hash, tokens);
  int32_t block = Bucket(place->hash);
  for (; block >= 0; block = entries_[block].next_in_bucket) {
    const Entry& entry = entries_[block];
    if (entry.before == place->before && entry.ns == ns && std::ranges::equal(TokensOf(block), tokens)) break;
  }
  if (block >= 0) place->before = block;
  return block;
}

template <class Visit>
int PrefixIndex::Walk(Namespace ns, std::span<const int32_t> tokens, Visit visit) const {
  const auto size = static_cast<size_t>(block_size_);
  Place place{.hash = ns};
  int blocks = 0;
  for (; tokens.size() >= size; tokens = tokens.subspan(size), ++blocks) {
    const int32_t block = Next(ns, tokens.first(size), &place);
    if (block < 0) break;
    visit(block);
  }
  return blocks;
}

int PrefixIndex::Match(Namespace ns, std::span<const int32_t> tokens, int* free) const {
  int unheld = 0;
  const int blocks = Walk(ns, tokens, [&](int32_t block) { unheld += pool_.refs(block) == 0 ? 1 : 0; });
  if (free != nullptr) *free = unheld;
  return blocks;
}

int PrefixIndex::Hold(Namespace ns, std::span<const int32_t> tokens, BlockTable& table) {
  HYDRAD_CHECK(table.size() == 0);
  table.pool_ = &pool_;
  table.shareable_ = Walk(ns, tokens, [&](int32_t block) {
    pool_.Ref(block);
    table.ids_.push_back(block);
  });
  return table.shareable_;
}

bool PrefixIndex::Insert(Namespace ns, std::span<const int32_t> tokens, BlockTable& table) {
  const auto size = static_cast<size_t>(block_size_);
  const size_t blocks = tokens.size() / size;
  HYDRAD_CHECK(blocks <= table.ids_.size() && (blocks == 0 || table.pool_ == &pool_));
  Place place{.hash = ns};
  bool own_ones = true;
  for (size_t i = 0; i < blocks; ++i) {
    const auto part = tokens.subspan(i * size, size);
    int32_t& own = table.ids_[i];
    const int32_t known = Next(ns, part, &place);
    if (known < 0) {
      Add(ns, part, place, own);
      place.before = own;
    } else if (known != own) {
      HYDRAD_CHECK(pool_.refs(own) == 1 && !pool_.cached(own));
      pool_.Ref(known);
      pool_.Unref(std::exchange(own, known));
      own_ones = false;
    }
  }
  table.shareable_ = std::max(table.shareable_, static_cast<int>(blocks));
  return own_ones;
}

void PrefixIndex::Add(Namespace ns, std::span<const int32_t> tokens, const Place& place, int32_t block) {
  pool_.SetCached(block, true);
  std::ranges::copy(tokens, tokens_.begin() + static_cast<ptrdiff_t>(block) * block_size_);
  int32_t& first = first_.try_emplace(ns, -1).first->second;
  entries_[block] = {.ns = ns,
                     .hash = place.hash,
                     .before = place.before,
                     .next_in_bucket = std::exchange(Bucket(place.hash), block),
                     .next = first};
  if (first >= 0) entries_[first].previous = block;
  first = block;
  if (place.before >= 0) ++entries_[place.before].behind;
  ++size_;
}

void PrefixIndex::Evict(Namespace ns) {
  const auto found = first_.find(ns);
  if (found == first_.end()) return;
  // The list goes from the entry that came last to the first one, and so from the ends of chains.
  for (int32_t block = found->second; block >= 0;) {
    const int32_t next = entries_[block].next;
    Remove(block);
    pool_.SetCached(block, false);
    block = next;
  }
}

void PrefixIndex::Remove(int32_t block) {
  const Entry& entry = entries_[block];
  HYDRAD_CHECK(entry.behind == 0);
  int32_t* link = &Bucket(entry.hash);
  while (*link != block) link = &entries_[*link].next_in_bucket;
  *link = entry.next_in_bucket;
  if (entry.next >= 0) entries_[entry.next].previous = entry.previous;
  if (entry.previous >= 0) {
    entries_[entry.previous].next = entry.next;
  } else if (entry.next >= 0) {
    first_[entry.ns] = entry.next;
  } else {
    first_.erase(entry.ns);
  }
  if (entry.before >= 0) --entries_[entry.before].behind;
  --size_;
}

absl::Status PrefixIndex::Check() const {
  int entries = 0;
  for (const auto& [ns, first] : first_) {
    int32_t previous = -1;
    for (int32_t block = first; block >= 0; previous = block, block = entries_[block].next) {
      if (++entries > size_ || entries_[block].previous != previous) {
        return Internal("the list of namespace {} is broken at block {}", ns, block);
      }
      RETURN_IF_ERROR(CheckEntry(ns, block));
    }
  }
  if (entries != size_) return Internal("{} entries are in namespaces, of {}", entries, size_);
  return size_ > 0 ? CheckOrder() : absl::OkStatus();
}

absl::Status PrefixIndex::CheckEntry(Namespace ns, int32_t block) const {
  const Entry& entry = entries_[block];
  if (entry.ns != ns) return Internal("block {} is listed in another namespace", block);
  if (!pool_.cached(block)) return Internal("block {} has an entry and is not cached", block);
  uint64_t hash = ns;
  if (entry.before >= 0) {
    const Entry& before = entries_[entry.before];
    if (!pool_.cached(entry.before) || before.ns != ns || before.behind < 1) {
      return Internal("block {} follows block {}, which is not its chain's", block, entry.before);
    }
    if (pool_.refs(entry.before) < pool_.refs(block)) {
      return Internal("block {} is held by more than block {} before it", block, entry.before);
    }
    hash = before.hash;
  }
  if (KeyedHash(key_, hash, TokensOf(block)) != entry.hash) {
    return Internal("block {} has another hash than its tokens", block);
  }
  int32_t found = Bucket(entry.hash);
  for (int steps = 0; found >= 0 && found != block && steps < size_; ++steps) {
    found = entries_[found].next_in_bucket;
  }
  return found == block ? absl::OkStatus() : Internal("block {} is not found by its hash", block);
}

absl::Status PrefixIndex::CheckOrder() const {
  std::vector<int32_t> behind(entries_.size(), 0);
  for (const auto& [ns, first] : first_) {
    for (int32_t block = first; block >= 0; block = entries_[block].next) {
      if (entries_[block].before >= 0) ++behind[entries_[block].before];
    }
  }
  for (const auto& [ns, first] : first_) {
    for (int32_t block = first; block >= 0; block = entries_[block].next) {
      if (behind[block] != entries_[block].behind) {
        return Internal("block {} counts {} behind it, which are {}", block, entries_[block].behind,
                        behind[block]);
      }
    }
  }
  for (int32_t block = pool_.oldest(); block >= 0; block = pool_.NewerThan(block)) {
    if (behind[block] > 0) return Internal("block {} would be reclaimed before those behind it", block);
    if (entries_[block].before >= 0) --behind[entries_[block].before];
  }
  return absl::OkStatus();
}

}  // namespace hydrad
