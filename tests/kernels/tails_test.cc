// What an instruction set does at the ends of its arguments: whatever the length, nothing outside of them is
// touched, and nothing outside counts. Every argument lies once among NaNs, once right before a page that
// nobody may touch and once right behind one; the results are the same bits.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <functional>

#include "kernels/gemm.h"
#include "kernels/simd/kernel_table.h"
#include "kernels/simd/panels.h"
#include "server/base/check.h"
#include "tests/kernels/cases.h"

namespace hydrad {
namespace {

using simd::Isa;
using simd::Table;

enum class Place { kAmongNans, kBeforeAFence, kBehindAFence };
using Outcome = std::vector<float>;

// Arrays of exact lengths in one place, which go with it.
class Memory {
 public:
  explicit Memory(Place place) : place_(place) {}
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    for (const auto& [begin, size] : mapped_) munmap(begin, size);
  }

  // n elements, full of NaN.
  template <class T>
  T* Take(int64_t n) {
    const size_t page = static_cast<size_t>(getpagesize()), bytes = sizeof(T) * static_cast<size_t>(n);
    const size_t inside = (bytes + page - 1) / page * page + (place_ == Place::kAmongNans ? 2 * page : 0);
    void* mapped =
        mmap(nullptr, inside + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    HYDRAD_CHECK(mapped != MAP_FAILED);
    mapped_.emplace_back(mapped, inside + 2 * page);
    auto* begin = static_cast<std::byte*>(mapped) + page;
    std::memset(begin, 0xff, inside);
    HYDRAD_CHECK(mprotect(mapped, page, PROT_NONE) == 0);
    HYDRAD_CHECK(mprotect(begin + inside, page, PROT_NONE) == 0);
    if (place_ == Place::kAmongNans) begin += page;
    if (place_ == Place::kBeforeAFence) begin += inside - bytes;
    return reinterpret_cast<T*>(begin);
  }
  // n elements that follow from `seed`.
  template <class T>
  T* Random(int64_t n, uint64_t seed) {
    T* to = Take<T>(n);
    std::mt19937_64 rng(seed);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < n; ++i) Put(to[i], normal(rng));
    return to;
  }

 private:
  const Place place_;
  std::vector<std::pair<void*, size_t>> mapped_;
};

// `run` takes its arguments from the memory and returns what it has written.
void SameEverywhere(const std::function<Outcome(Memory&)>& run, const std::string& what) {
  const auto at = [&run](Place place) {
    Memory memory(place);
    return run(memory);
  };
  const Outcome want = at(Place::kAmongNans);
  for (const float x : want) ASSERT_FALSE(std::isnan(x)) << what << ": NaNs around the arguments count";
  for (const Place place : {Place::kBeforeAFence, Place::kBehindAFence}) {
    const Outcome got = at(place);
    ASSERT_EQ(got.size(), want.size());
    ASSERT_EQ(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)), 0) << what;
  }
}

class TailsTest : public testing::TestWithParam<Isa> {
 protected:
  const Table& table() const { return simd::TableFor(GetParam()); }
};

TEST_P(TailsTest, RowsOfAnyWidth) {
  const Table& t = table();
  for (int n = 1; n <= 150; ++n) {
    const std::string what = std::to_string(n) + " wide";
    const auto row = [n](const float* x) { return Outcome(x, x + n); };
    SameEverywhere(
        [&](Memory& m) {
          float* y = m.Take<float>(n);
          t.rms_norm(y, m.Random<float>(n, 1), m.Random<float>(n, 2), n, 1e-5f);
          return row(y);
        },
        "RmsNorm " + what);
    SameEverywhere(
        [&](Memory& m) {
          float* y = m.Take<float>(n);
          t.silu_mul(y, m.Random<float>(n, 1), m.Random<float>(n, 2), n);
          return row(y);
        },
        "SiluMul " + what);
    SameEverywhere(
        [&](Memory& m) {
          float* y = m.Random<float>(n, 1);
          t.add(y, m.Random<float>(n, 2), n);
          return row(y);
        },
        "Add " + what);
    SameEverywhere(
        [&](Memory& m) {
          float* x = m.Random<float>(n, 1);
          t.softmax(x, n);
          return row(x);
        },
        "Softmax " + what);
  }
}

TEST_P(TailsTest, HeadsOfAnyWidth) {
  for (int dim = 2; dim <= 150; dim += 2) {
    SameEverywhere(
        [&](Memory& m) {
          float* x = m.Random<float>(dim, 1);
          table().rope(x, dim, m.Random<float>(dim, 2));
          return Outcome(x, x + dim);
        },
        "Rope of " + std::to_string(dim));
  }
}

TEST_P(TailsTest, ScansOfLogits) {
  for (int n = 1; n <= 300; ++n) {
    SameEverywhere(
        [&](Memory& m) {
          const float* x = m.Random<float>(n, 1);
          float* weight = m.Take<float>(n);
          const float max = table().max_or_nan(x, n);
          const double sum = table().exp_sum(x, max, 0.7f, weight, n);
          Outcome out(weight, weight + n);
          out.push_back(max);
          out.push_back(static_cast<float>(sum));
          return out;
        },
        std::to_string(n) + " logits");
  }
}

// Rows, dots or coefficients, and the inner or outer length: every remainder of what kernels take at once.
template <class T, class Use>
void LowRankCases(const Use& use) {
  for (const int rows : {1, 2, 3, 4, 5, 7}) {
    for (const int count : {1, 2, 3, 4, 5, 7, 8}) {
      for (const int length : {1, 2, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 79, 129}) {
        use(rows, count, length,
            std::to_string(rows) + " rows, " + std::to_string(count) + ", length " + std::to_string(length));
      }
    }
  }
}

template <class T>
void Dots(void (*kernel)(const simd::DotsCall<T>&)) {
  LowRankCases<T>([&](int rows, int count, int in, const std::string& what) {
    SameEverywhere(
        [&](Memory& m) {
          float* u = m.Take<float>(rows * count);
          kernel({.d = m.Random<T>(count * in, 1),
                  .next = m.Random<T>(count * in, 2),
                  .count = count,
                  .in = in,
                  .rows = {rows, nullptr},
                  .x = {m.Random<float>(rows * in, 3), rows, in, in},
                  .u = u,
                  .u_stride = count});
          return Outcome(u, u + rows * count);
        },
        "dots of " + what);
  });
}

TEST_P(TailsTest, Shrink) {
  Dots(table().dots_bf16);
  Dots(table().dots_f32);
}

template <class T>
void Expand(void (*kernel)(const simd::ExpandCall<T>&)) {
  LowRankCases<T>([&](int rows, int count, int cols, const std::string& what) {
    SameEverywhere(
        [&](Memory& m) {
          float* y = m.Random<float>(rows * cols, 1);
          kernel({.rows = {rows, nullptr},
                  .y = {y, rows, cols, cols},
                  .z = m.Random<float>(rows * count, 2),
                  .z_stride = count,
                  .count = count,
                  .up = m.Random<T>(count * cols, 3),
                  .next = m.Random<T>(count * cols, 4),
                  .up_stride = cols});
          return Outcome(y, y + rows * cols);
        },
        "expansion of " + what);
  });
}

TEST_P(TailsTest, Expand) {
  Expand(table().expand_bf16);
  Expand(table().expand_f32);
}

// The last position is the last of the cache, or has room behind it in its block.
template <class T>
void Attend(void (*kernel)(const simd::AttendCall<T>&)) {
  for (const int dim : {1, 2, 15, 16, 17, 24, 33, 64, 65, 80, 129}) {
    for (const int rows : {1, 2, 3, 5}) {
      for (const int heads : {1, 3}) {
        for (const int positions : {rows, 10, 13, 65, 130}) {
          SameEverywhere(
              [&](Memory& m) {
                constexpr int kBlock = 5;
                const int blocks = simd::CeilDiv(positions, kBlock);
                int32_t* blocks_of = m.Take<int32_t>(blocks);
                for (int b = 0; b < blocks; ++b) blocks_of[b] = b;
                float* out = m.Take<float>(rows * heads * dim);
                const int64_t cached = int64_t{blocks} * kBlock * dim;
                kernel({.kv = {m.Random<T>(cached, 1), m.Random<T>(cached, 2), kBlock, 1, dim},
                        .table = blocks_of,
                        .kv_head = 0,
                        .heads = heads,
                        .rows = rows,
                        .first_position = positions - rows,
                        .q = m.Random<float>(rows * heads * dim, 3),
                        .out = out,
                        .q_stride = heads * dim,
                        .out_stride = heads * dim,
                        .scale = 0.3f,
                        .work = m.Take<float>(simd::kAttendQueries * simd::AttendWidth(dim))});
                return Outcome(out, out + rows * heads * dim);
              },
              std::to_string(rows) + " x " + std::to_string(heads) + " queries of " + std::to_string(dim) +
                  " over " + std::to_string(positions));
        }
      }
    }
  }
}

TEST_P(TailsTest, Attention) {
  Attend(table().attend_bf16);
  Attend(table().attend_f32);
}

// Packed weights and packed x are whole tiles at 64 bytes; x, the bias and y end anywhere.
TEST_P(TailsTest, Products) {
  for (const WeightType type : {WeightType::kBf16, WeightType::kF32}) {
    const simd::GemmKernels& g = table().gemm[static_cast<int>(type)];
    for (const int rows : {1, 2, 3, 5, 8, 9, 17}) {
      for (const int n : {1, 15, 16, 17, 33, 100}) {
        for (const int k : {1, 31, 32, 33, 65}) {
          SameEverywhere(
              [&](Memory& m) {
                const int tiles = simd::CeilDiv(k, simd::kTileK);
                const PackedWeights w{type, n, k, m.Take<std::byte>(simd::PackedBytes(type, n, k))};
                std::memset(w.data, 0, simd::PackedBytes(type, n, k));
                simd::PackRows(w, 0, Mat<const float>{m.Random<float>(n * k, 1), n, k, k});
                const int packed_rows = simd::CeilDiv(rows, g.block) * g.block;
                void* packed = m.Take<std::byte>(int64_t{packed_rows} * tiles * simd::kTileK * g.x_element);
                g.pack(packed, {m.Random<float>(rows * k, 2), rows, k, k}, 0, rows);
                float* y = m.Take<float>(rows * n);
                g.panels({.y = {y, rows, n, n},
                          .x = packed,
                          .w = w.data,
                          .panel_bytes = simd::PanelBytes(type, k),
                          .rows = rows,
                          .n = n,
                          .tiles = tiles,
                          .bias = m.Random<float>(n, 3)},
                         0, simd::CeilDiv(n, simd::kPanel));
                return Outcome(y, y + rows * n);
              },
              std::to_string(rows) + " rows, [" + std::to_string(n) + ", " + std::to_string(k) + "]");
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, TailsTest, testing::ValuesIn(Isas()), IsaName);

}  // namespace
}  // namespace hydrad
