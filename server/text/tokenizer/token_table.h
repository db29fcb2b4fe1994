// Hash tables of the BPE model, laid out flat: a lookup touches one cache line where std::unordered_map
// follows a chain of pointers, and lookups are most of what encoding does.
#ifndef HYDRAD_SERVER_TEXT_TOKENIZER_TOKEN_TABLE_H_
#define HYDRAD_SERVER_TEXT_TOKENIZER_TOKEN_TABLE_H_

#include <bit>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hydrad {

// Text -> token id. Filled once, then read from any thread.
class TokenTable {
 public:
  // Room for `count` entries.
  explicit TokenTable(size_t count = 0) : slots_(std::bit_ceil(2 * count + 2)) {}

  // Adds an entry. REQUIRES: fewer entries than announced; `text` is not in the table; id >= 0.
  void Insert(std::string_view text, int32_t id) {
    const size_t hash = Hash(text);
    size_t i = hash & (slots_.size() - 1);
    while (slots_[i].id >= 0) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {id, static_cast<uint32_t>(hash >> 32), static_cast<uint32_t>(texts_.size()),
                 static_cast<uint32_t>(text.size())};
    texts_.append(text);
  }

  // The id, or -1.
  int32_t Find(std::string_view text) const {
    const size_t hash = Hash(text);
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    for (size_t i = hash & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      const Slot& slot = slots_[i];
      if (slot.id < 0) return -1;
      if (slot.tag == tag && text == std::string_view(texts_).substr(slot.begin, slot.size)) return slot.id;
    }
  }

 private:
  struct Slot {
    int32_t id = -1;  // -1: free
    uint32_t tag = 0;
    uint32_t begin = 0, size = 0;  // of the text in texts_
  };
  static size_t Hash(std::string_view text) { return std::hash<std::string_view>()(text); }

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::string texts_;        // below 4 GiB, since a file is
};

// A merge of two neighbouring tokens.
struct Merge {
  uint32_t rank = UINT32_MAX;  // lower is earlier; UINT32_MAX: there is no such merge
  int32_t id = -1;             // of the token they become
  bool operator==(const Merge&) const = default;
};

// Pair of token ids -> merge. Filled once, then read from any thread.
class MergeTable {
 public:
  explicit MergeTable(size_t count = 0) : slots_(std::bit_ceil(2 * count + 2)) {}

  // Adds or replaces. REQUIRES: no more distinct pairs than announced; ids >= 0.
  void Set(int32_t left, int32_t right, Merge merge) {
    const uint64_t key = Key(left, right);
    size_t i = Start(key);
    while (slots_[i].key != kFree && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = {key, merge};
  }

  // Whether both were filled with the same merges in the same order.
  bool operator==(const MergeTable&) const = default;

  // The merge, or one with rank UINT32_MAX.
  Merge Find(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    for (size_t i = Start(key);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].key == key) return slots_[i].merge;
      if (slots_[i].key == kFree) return {};
    }
  }

 private:
  static constexpr uint64_t kFree = UINT64_MAX;  // ids are not negative
  struct Slot {
    uint64_t key = kFree;
    Merge merge;
    bool operator==(const Slot&) const = default;
  };
  static uint64_t Key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  }
  size_t Start(uint64_t key) const {
    return ((key ^ key >> 29) * 0x9e3779b97f4a7c15u >> 24) & (slots_.size() - 1);
  }

  std::vector<Slot> slots_;
};

}  // namespace hydrad

#endif  // HYDRAD_SERVER_TEXT_TOKENIZER_TOKEN_TABLE_H_
