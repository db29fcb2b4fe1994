#include "server/backend/cuda/device_ends.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "server/backend/cpu/aligned_buffer.h"
#include "server/backend/cpu/pack_embedding.h"
#include "server/backend/cpu/pack_group.h"
#include "server/backend/cuda/adapter_pool.h"
#include "server/backend/cuda/mirror.h"
#include "server/backend/host_rows.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

// Rows of its own come first, the embedding's and then lm_head's; behind them is all the rest, as it is laid
// into one block of host memory.
size_t RowsBytes(const TokenRows& own) {
  if (own.rows.data == nullptr) return 0;
  return AdapterPool::Rounded(sizeof(bf16) * own.rows.rows * own.rows.cols);
}
bool SameAtBothEnds(const AdapterWeights& weights) {
  return weights.embedding.rows.data == weights.head.rows.data &&
         weights.embedding.tokens == weights.head.tokens;
}
size_t AllRowsBytes(const AdapterWeights& weights) {
  return RowsBytes(weights.embedding) + (SameAtBothEnds(weights) ? 0 : RowsBytes(weights.head));
}

// The rows of `own` in the order of their tokens; empty: as they are.
std::vector<int32_t> OrderOf(const TokenRows& own) {
  std::vector<int32_t> order(own.tokens.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](int32_t row) { return own.tokens[row]; });
  return order;
}

// Straight from the file's memory: a whole matrix may be a gigabyte.
absl::Status UploadRows(const TokenRows& own, std::byte* to, Uploader& uploader) {
  if (own.rows.data == nullptr) return absl::OkStatus();
  const std::vector<int32_t> order = OrderOf(own);
  const size_t row_bytes = sizeof(bf16) * own.rows.cols;
  return uploader.Copy(
      to, row_bytes * own.rows.rows, row_bytes, [&](size_t begin, size_t count, std::byte* out) {
        for (size_t i = begin / row_bytes; i < (begin + count) / row_bytes; ++i, out += row_bytes) {
          const int row = order.empty() ? static_cast<int>(i) : order[i];
          CopyRows(own.rows, row, 1, reinterpret_cast<bf16*>(out));
        }
      });
}

// What stands in the block; null while measuring.
struct Rest {
  int32_t *embedding_tokens, *head_tokens;
  const bf16* a = nullptr;
  LoraGroup<bf16> after{}, head{};
  cuda::LoraGroup* head_group = nullptr;
  cuda::LoraMember* head_member = nullptr;
};

int32_t* LayTokens(const TokenRows& own, Arena& arena) {
  int32_t* tokens = arena.Take<int32_t>(own.tokens.size());
  if (tokens != nullptr) {
    std::ranges::copy(own.tokens, tokens);
    std::sort(tokens, tokens + own.tokens.size());
  }
  return tokens;
}

Rest LayRest(const AdapterWeights& weights, const AdapterShape& shape, Arena& arena) {
  Rest rest;
  rest.embedding_tokens = LayTokens(weights.embedding, arena);
  rest.head_tokens = SameAtBothEnds(weights) ? rest.embedding_tokens : LayTokens(weights.head, arena);
  if (const ProjectionWeights* embedding = FindEnd(weights, Projection::kEmbedding)) {
    rest.a = PackLookup<bf16>(embedding->a.front(), arena);
    PackAfterLookup<bf16>(*embedding, shape, &rest.after, arena);
  }
  if (const ProjectionWeights* head = FindEnd(weights, Projection::kHead)) {
    PackGroup<bf16>(std::array{head}, shape, &rest.head, arena);
    rest.head_group = arena.Take<cuda::LoraGroup>(1);
    rest.head_member = arena.Take<cuda::LoraMember>(1);
  }
  return rest;
}

cuda::OwnRows RowsOnDevice(const TokenRows& own, const std::byte* at, const int32_t* tokens,
                           const Mirror& device) {
  if (own.rows.data == nullptr) return {};
  return {.rows = reinterpret_cast<const bf16*>(at),
          .tokens = own.tokens.empty() ? nullptr : device(tokens),
          .count = own.rows.rows};
}

// Fills in the tables in the block too.
DeviceEnds EndsOnDevice(const AdapterWeights& weights, const Rest& rest, std::byte* base,
                        const Mirror& device) {
  DeviceEnds ends;
  const std::byte* head_rows = base + (SameAtBothEnds(weights) ? 0 : RowsBytes(weights.embedding));
  ends.embedding = {.own = RowsOnDevice(weights.embedding, base, rest.embedding_tokens, device)};
  ends.head = RowsOnDevice(weights.head, head_rows, rest.head_tokens, device);
  if (rest.a != nullptr) {
    const LoraMember<bf16>& m = rest.after.members.front();
    ends.embedding.a = device(rest.a);
    ends.embedding.up = device(m.up);
    ends.embedding.rank = rest.after.in;
    ends.embedding.scale = m.scale[0];
    ends.embedding.out_scale = device(m.out_scale);
    ends.embedding.out_bias = device(m.out_bias);
  }
  if (rest.head_group != nullptr) {
    const LoraMember<bf16>& m = rest.head.members.front();
    ends.head_down_rows = rest.head.down_rows;
    ends.head_z_cols = EndInZ(m, 0);
    *rest.head_member = device.Member(m, 0, 0);
    *rest.head_group = {.down = device(rest.head.down),
                        .down_rows = rest.head.down_rows,
                        .in = rest.head.in,
                        .members = device(rest.head_member),
                        .member_count = 1,
                        .z_cols = ends.head_z_cols};
    ends.head_lora = device(rest.head_group);
  }
  return ends;
}

}  // namespace

size_t EndsBytes(const AdapterWeights& weights, const AdapterShape& shape) {
  if (!ChangesEnds(weights)) return 0;
  Arena arena(nullptr);
  LayRest(weights, shape, arena);
  return AllRowsBytes(weights) + arena.used();
}

absl::StatusOr<DeviceEnds> UploadEnds(const AdapterWeights& weights, const AdapterShape& shape,
                                      std::byte* base, Uploader& uploader) {
  if (!ChangesEnds(weights)) return DeviceEnds{};
  const size_t rows = AllRowsBytes(weights);
  ASSIGN_OR_RETURN(const auto memory, AlignedBuffer::Allocate(EndsBytes(weights, shape) - rows));
  const auto block = std::span(static_cast<std::byte*>(memory->data()), memory->bytes());
  Arena arena(block.data());
  const Rest rest = LayRest(weights, shape, arena);
  const DeviceEnds ends = EndsOnDevice(weights, rest, base, Mirror(block, base + rows));
  RETURN_IF_ERROR(UploadRows(weights.embedding, base, uploader));
  if (!SameAtBothEnds(weights))
    RETURN_IF_ERROR(UploadRows(weights.head, base + RowsBytes(weights.embedding), uploader));
  RETURN_IF_ERROR(uploader.Copy(base + rows, block.data(), block.size()));
  return ends;
}

}  // namespace hydrad
