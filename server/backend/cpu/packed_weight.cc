#include "server/backend/cpu/packed_weight.h"

#include <algorithm>
#include <cstring>

#include "kernels/simd/pool.h"
#include "server/backend/host_rows.h"
#include "server/base/check.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

constexpr int kRowsPerTask = 64;  // a multiple of every panel, so that two tasks never share one

// Packs rows [begin, end) of the parts stacked on each other.
template <class T>
void PackRange(const PackedWeights& packed, std::span<const HostMatrix> parts, int begin, int end) {
  std::vector<T> rows(static_cast<size_t>(end - begin) * packed.k);
  int part_begin = 0;
  for (const HostMatrix& part : parts) {
    const int from = std::max(begin, part_begin), to = std::min(end, part_begin + part.rows);
    if (from < to) {
      CopyRows(part, from - part_begin, to - from, rows.data());
      simd::PackRows(packed, from, Mat<const T>{rows.data(), to - from, packed.k, packed.k});
    }
    part_begin += part.rows;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<PackedWeight>> PackedWeight::Pack(simd::Pool& pool, WeightType type,
                                                                 std::span<const HostMatrix> parts,
                                                                 std::span<const float> bias) {
  HYDRAD_CHECK(!parts.empty());
  PackedWeights packed{.type = type, .n = 0, .k = parts.front().cols, .data = nullptr};
  for (const HostMatrix& part : parts) {
    HYDRAD_CHECK(part.cols == packed.k);
    packed.n += part.rows;
  }
  HYDRAD_CHECK(bias.empty() || bias.size() == static_cast<size_t>(packed.n));
  ASSIGN_OR_RETURN(auto memory, AlignedBuffer::Allocate(simd::PackedBytes(type, packed.n, packed.k)));
  packed.data = static_cast<std::byte*>(memory->data());
  const int tasks = (packed.n + kRowsPerTask - 1) / kRowsPerTask;
  pool.Run(tasks, [&](int task) {
    const int begin = task * kRowsPerTask, end = std::min(packed.n, begin + kRowsPerTask);
    if (type == WeightType::kBf16) {
      PackRange<bf16>(packed, parts, begin, end);
    } else {
      PackRange<float>(packed, parts, begin, end);
    }
  });
  return std::unique_ptr<PackedWeight>(new PackedWeight(packed, std::move(memory), bias));
}

}  // namespace hydrad
