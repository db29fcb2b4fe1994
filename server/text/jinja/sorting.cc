#include "server/text/jinja/sorting.h"

#include <algorithm>
#include <numeric>

#include "server/base/status_macros.h"
#include "server/text/jinja/python_operators.h"

namespace hydrad::jinja {
namespace {

// Merges places of keys bottom-up. std::stable_sort is not used: a comparison may fail, and keys like NaN
// have no order that it could rely on.
absl::Status MergeSort(Runtime* runtime, const std::vector<Value>& keys, std::vector<size_t>* places) {
  std::vector<size_t> merged(places->size());
  for (size_t width = 1; width < places->size(); width *= 2) {
    for (size_t begin = 0; begin < places->size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, places->size()),
                   end = std::min(begin + 2 * width, places->size());
      size_t left = begin, right = middle;
      for (size_t out = begin; out < end; ++out) {
        bool take_right = left == middle;
        if (!take_right && right < end) {
          ASSIGN_OR_RETURN(take_right, Less(runtime, keys[(*places)[right]], keys[(*places)[left]]));
        }
        merged[out] = (*places)[take_right ? right++ : left++];
      }
    }
    places->swap(merged);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status SortByKeys(Runtime* runtime, std::vector<Value> keys, bool reverse, std::vector<Value>* items) {
  std::vector<size_t> places(items->size());
  std::iota(places.begin(), places.end(), 0);
  if (reverse) std::reverse(places.begin(), places.end());
  RETURN_IF_ERROR(MergeSort(runtime, keys, &places));
  if (reverse) std::reverse(places.begin(), places.end());
  std::vector<Value> sorted;
  sorted.reserve(items->size());
  for (const size_t place : places) sorted.push_back((*items)[place]);
  *items = std::move(sorted);
  return absl::OkStatus();
}

}  // namespace hydrad::jinja
