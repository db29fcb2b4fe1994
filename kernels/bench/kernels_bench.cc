// Prints what share of the machine's limits the CPU kernels reach on the shapes of SmolLM2-135M.
//
//   kernels_bench [gemm|lora|attention|all] [--threads=N] [--isa=NAME] [--rounds=N]
//
// A shared machine moves by 2x within seconds, so nothing here is an absolute: every round measures the
// limits and all cases once, next to each other, and the table holds medians and the median of each round's
// ratio. Weights are cold: every case walks copies that together are larger than the caches.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <sys/mman.h>

#include "kernels/bench/machine_limits.h"
#include "kernels/simd/by_isa.h"
#include "kernels/simd/pool.h"

namespace hydrad::bench {
namespace {

using simd::Isa;

// With one thread the time that it had the core, so that neighbours count less.
double Now(bool one_thread) {
  timespec t;
  clock_gettime(one_thread ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

// Memory in huge pages where the system has them, filled with small numbers that are valid as bf16 and as
// float.
class Block {
 public:
  explicit Block(size_t bytes) : bytes_((bytes + (2 << 20)) & ~size_t{(2 << 20) - 1}) {
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) std::abort();
    madvise(data_, bytes_, MADV_HUGEPAGE);
    uint64_t state = 1;
    for (size_t i = 0; i < bytes_ / 2; ++i) {
      state = state * 6364136223846793005 + 1442695040888963407;
      static_cast<uint16_t*>(data_)[i] = static_cast<uint16_t>(0x3c00 | (state >> 40 & 0x80ff));
    }
  }
  ~Block() { munmap(data_, bytes_); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::byte* data() const { return as<std::byte>(); }
  size_t size() const { return bytes_; }

 private:
  size_t bytes_;
  void* data_;
};

double Median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + v.size() / 2, v.end());
  return v[v.size() / 2];
}

double Best(const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); }

// The limits of this moment.
struct Limits {
  double bytes_per_second, flops;
};

// One line of the table: run() does the work once; it must move `bytes` and compute `flops`.
struct Case {
  std::string name;
  double bytes, flops;
  std::function<void()> run;
  std::vector<double> seconds, bandwidth_share, flop_share;
};

class Bench {
 public:
  Bench(simd::Pool& pool, Isa isa) : pool_(pool), isa_(isa), stream_(512u << 20) {}

  void Add(std::string name, double bytes, double flops, std::function<void()> run) {
    cases_.push_back({std::move(name), bytes, flops, std::move(run), {}, {}, {}});
  }

  void Run(int rounds) {
    std::vector<double> bandwidth, fma, dot;
    for (int i = 0; i < rounds; ++i) {
      for (Case& c : cases_) {
        const Limits limits = Measure(&fma, &dot);
        bandwidth.push_back(limits.bytes_per_second);
        const double start = Now(pool_.threads() == 1);
        c.run();
        const double s = Now(pool_.threads() == 1) - start;
        c.seconds.push_back(s);
        c.bandwidth_share.push_back(c.bytes / s / limits.bytes_per_second);
        c.flop_share.push_back(c.flops / s / limits.flops);
      }
    }
    std::printf("threads %d, isa %s; read %.1f GB/s, registers: FMA %.0f, vdpbf16ps %.0f GFLOP/s (medians)\n",
                pool_.threads(), simd::Name(isa_), Median(bandwidth) / 1e9, Median(fma) / 1e9,
                Median(dot) / 1e9);
    std::printf("%-34s %10s %8s %8s %9s %8s   | best: of read, of peak\n", "case", "us", "GB/s", "of read",
                "GFLOP/s", "of peak");
    const double top_read = Best(bandwidth), top_flops = std::max(Best(fma), Best(dot));
    for (const Case& c : cases_) {
      const double s = Median(c.seconds);
      const double least = *std::min_element(c.seconds.begin(), c.seconds.end());
      std::printf("%-34s %10.1f %8.1f %7.0f%% %9.1f %7.0f%%   | %4.0f%% %4.0f%%\n", c.name.c_str(), s * 1e6,
                  c.bytes / s / 1e9, 100 * Median(c.bandwidth_share), c.flops / s / 1e9,
                  100 * Median(c.flop_share), 100 * c.bytes / least / top_read,
                  100 * c.flops / least / top_flops);
    }
  }

 private:
  Limits Measure(std::vector<double>* fma, std::vector<double>* dot) {
    // A slice at a time, another each time: the whole is larger than any cache.
    const long slice = 32l << 20, at = next_;
    next_ = (next_ + slice) % static_cast<long>(stream_.size() - slice);
    const double read = slice / ReadSeconds(pool_, stream_.data() + at, slice);
    fma->push_back(FmaFlops(pool_));
    dot->push_back(DotBf16Flops(pool_));
    return {read, std::max(fma->back(), dot->back())};
  }

  simd::Pool& pool_;
  Isa isa_;
  Block stream_;
  long next_ = 0;
  std::vector<Case> cases_;
};

struct Shape {
  int k, n;
};

void AddGemm(Bench& bench, simd::Pool& pool, Isa isa, const std::vector<int>& rows) {
  static const Block weights(448u << 20), x(512 * 1536 * 4), y(size_t{256} * 49152 * 4),
      scratch(512 * 1536 * 4 + 64);
  for (const Shape s : {Shape{576, 960}, {576, 576}, {576, 3072}, {1536, 576}, {576, 49152}}) {
    for (int m : rows) {
      const size_t bytes = simd::PackedBytes(WeightType::kBf16, s.n, s.k);
      // Small ones are repeated over copies, so that a wake-up does not decide.
      const int copies = std::clamp<int>(static_cast<int>(5e8 / (2.0 * m * s.k * s.n)), 1,
                                         (16 << 20) / static_cast<int>(bytes) + 1);
      auto at = std::make_shared<size_t>(0);
      bench.Add("gemm " + std::to_string(s.k) + "x" + std::to_string(s.n) + " M=" + std::to_string(m),
                double(bytes) * copies, 2.0 * m * s.k * s.n * copies, [=, &pool] {
                  for (int i = 0; i < copies; ++i) {
                    if (*at + bytes > weights.size()) *at = 0;
                    const PackedWeights w{WeightType::kBf16, s.n, s.k, weights.data() + *at};
                    *at += (bytes + 4095) & ~size_t{4095};
                    simd::Gemm(simd::TableFor(isa), pool, {y.as<float>(), m, s.n, s.n},
                               {x.as<const float>(), m, s.k, s.k}, w, nullptr,
                               {scratch.data(), scratch.size()});
                  }
                });
    }
  }
}

// One layer group of an adapter of rank 16: projections that share an input.
struct GroupShape {
  int in;
  std::vector<int> outs;
};
const std::vector<GroupShape> kGroups = {
    {576, {576, 192, 192}}, {576, {576}}, {576, {1536, 1536}}, {1536, {576}}};
constexpr int kLayers = 30;

// What every projection of an adapter is like.
struct AdapterShape {
  const char* name;
  int experts, rank;
  LoraGate gate;
  bool shared_a;

  int router() const { return RouterRows(gate, experts); }
  int down() const { return router() + rank * (shared_a ? 1 : experts); }
  // Numbers that one row reads, of a projection from `in` to `out`.
  double Read(int in, int out) const {
    const int picked = gate.rule == GateRule::kTopK ? gate.top_k : experts;
    return double(in) * (router() + rank * (shared_a ? 1 : picked)) + double(out) * rank * picked;
  }
};

struct Adapters {
  Adapters(int count, const AdapterShape& shape) : memory(Bytes(shape) * count) {
    for (int e = 0; e <= shape.experts; ++e) ranks.push_back(e * shape.rank);
    scale.assign(shape.experts, 1);
    bf16* at = memory.as<bf16>();
    for (int a = 0; a < count * kLayers * 4; ++a) {
      const GroupShape& outs = kGroups[a % 4];
      LoraGroup<bf16> group{};
      group.in = outs.in;
      group.down_rows = shape.down() * static_cast<int>(outs.outs.size());
      group.down = at;
      at += group.down_rows * group.in;
      int row = 0, col = 0;
      std::vector<LoraMember<bf16>>& own = members.emplace_back();
      for (int out : outs.outs) {
        LoraMember<bf16> m{};
        m.down_begin = row, m.out_begin = col, m.out = out, m.experts = shape.experts;
        m.rank_begin = ranks.data(), m.gate = shape.gate, m.shared_a = shape.shared_a, m.scale = scale.data();
        m.up = at;
        own.push_back(m);
        at += ranks.back() * out, row += shape.down(), col += out;
      }
      group.members = own;
      groups.push_back(group);
    }
  }
  static size_t Bytes(const AdapterShape& shape) {
    size_t n = 0;
    for (const GroupShape& g : kGroups) {
      for (int out : g.outs) n += shape.down() * g.in + shape.experts * shape.rank * out;
    }
    return n * kLayers * sizeof(bf16);
  }
  static double ReadPerRow(const AdapterShape& shape) {
    double n = 0;
    for (const GroupShape& g : kGroups) {
      for (int out : g.outs) n += shape.Read(g.in, out);
    }
    return n * kLayers;
  }
  std::vector<int32_t> ranks;
  std::vector<float> scale;
  Block memory;
  std::deque<std::vector<LoraMember<bf16>>> members;
  std::vector<LoraGroup<bf16>> groups;  // [adapter][layer][group]
};

// Rows of one adapter take the bytes that a row reads as the least; those that pick may need more.
void AddLora(Bench& bench, simd::Pool& pool, Isa isa) {
  static const Block x(64 * 1536 * 4), y(64 * 3072 * 4), scratch(8 << 20);
  static const AdapterShape shapes[] = {
      {"r16", 1, 16, {}, false},
      {"hydra 4 x r8", 4, 8, {GateRule::kSoftmax}, true},
      {"moe 8 x r8", 8, 8, {GateRule::kSoftmax}, false},
      {"moe 8 x r8 top 2", 8, 8, {GateRule::kTopK, 2, true}, false},
  };
  for (const AdapterShape& shape : shapes) {
    const auto adapters = std::make_shared<const Adapters>(32, shape);
    // {rows, distinct adapters}
    for (const auto& [rows, distinct] : {std::pair{1, 1}, {16, 16}, {32, 32}, {32, 1}, {64, 8}}) {
      const double read = Adapters::ReadPerRow(shape);
      bench.Add(std::string("lora ") + shape.name + " rows=" + std::to_string(rows) +
                    " distinct=" + std::to_string(distinct),
                read * sizeof(bf16) * distinct, read * 2 * rows,
                [=, &pool, rows = rows, distinct = distinct] {
                  for (int layer = 0; layer < kLayers * 4; ++layer) {
                    std::vector<LoraRun<bf16>> runs;
                    for (int a = 0; a < distinct; ++a) {
                      runs.push_back({a * rows / distinct, (a + 1) * rows / distinct,
                                      &adapters->groups[a * kLayers * 4 + layer]});
                    }
                    const int in = runs[0].group->in;
                    simd::AddLora<bf16>(isa, pool, {y.as<float>(), rows, 3072, 3072},
                                        {x.as<const float>(), rows, in, in}, runs,
                                        {scratch.data(), scratch.size()});
                  }
                });
    }
  }
}

void AddAttention(Bench& bench, simd::Pool& pool, Isa isa) {
  constexpr int kHeads = 9, kKvHeads = 3, kDim = 64, kBlockSize = 16, kContext = 512, kMost = 64;
  constexpr size_t kLayer = size_t{kContext} * kMost * kKvHeads * kDim;  // elements of k in a layer
  constexpr int kCopies = 8;
  static const Block memory(kLayer * 2 * 2 * kCopies), q(512 * kHeads * kDim * 4),
      out(512 * kHeads * kDim * 4);
  static std::vector<int32_t> table(kContext / kBlockSize * kMost);
  for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i * 1021 % table.size());
  // {sequences, rows of each, first position}
  struct Batch {
    int sequences, rows, first;
  };
  for (const Batch b : {Batch{1, 1, 511}, {16, 1, 511}, {64, 1, 511}, {1, 512, 0}, {1, 128, 384}}) {
    const double positions = b.rows == 1 ? b.sequences * 512.0 : b.first + b.rows;
    const double pairs = b.sequences * (b.rows * double(b.first) + b.rows * (b.rows + 1) / 2.0);
    const double layer_bytes = positions * kKvHeads * kDim * 2 * 2;
    const int repeat = std::max(1, static_cast<int>(30e6 / layer_bytes / (b.rows > 1 ? 20 : 1)));
    bench.Add(
        "attention seqs=" + std::to_string(b.sequences) + " rows=" + std::to_string(b.rows) + " ctx=512",
        layer_bytes * repeat, pairs * kHeads * kDim * 4 * repeat, [=, &pool] {
          for (int i = 0; i < repeat; ++i) {
            // Short batches walk the sequences of a copy, so that the cache is cold here too.
            bf16* base = memory.as<bf16>() + i % kCopies * 2 * kLayer;
            std::vector<AttentionSegment> segments;
            for (int s = 0; s < b.sequences; ++s) {
              const int at = (s + i / kCopies * b.sequences) % kMost * (kContext / kBlockSize);
              segments.push_back({s * b.rows, (s + 1) * b.rows, b.first, &table[at]});
            }
            const KvLayer<bf16> kv{base, base + kLayer, kBlockSize, kKvHeads, kDim};
            const int rows = b.sequences * b.rows, width = kHeads * kDim;
            simd::Attend<bf16>(isa, pool, {out.as<float>(), rows, width, width},
                               {q.as<const float>(), rows, width, width}, kv, segments, 0.125f);
          }
        });
  }
}

}  // namespace
}  // namespace hydrad::bench

int main(int argc, char** argv) {
  using namespace hydrad;
  std::string what = "all", isa_name = simd::Name(simd::ActiveIsa());
  int threads = 0, rounds = 9;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    if (a.rfind("--threads=", 0) == 0) {
      threads = std::atoi(a.c_str() + 10);
    } else if (a.rfind("--isa=", 0) == 0) {
      isa_name = a.substr(6);
    } else if (a.rfind("--rounds=", 0) == 0) {
      rounds = std::atoi(a.c_str() + 9);
    } else {
      what = a;
    }
  }
  simd::Isa isa = simd::Isa::kPortable;
  for (simd::Isa i : {simd::Isa::kAvx2, simd::Isa::kAvx512, simd::Isa::kAvx512Bf16, simd::Isa::kAmx}) {
    if (isa_name == simd::Name(i) && simd::Supported(i)) isa = i;
  }
  simd::Pool pool(threads);
  bench::Bench bench(pool, isa);
  if (what == "all" || what == "gemm") bench::AddGemm(bench, pool, isa, {1, 4, 16, 64, 256});
  if (what == "all" || what == "lora") bench::AddLora(bench, pool, isa);
  if (what == "all" || what == "attention") bench::AddAttention(bench, pool, isa);
  bench.Run(rounds);
}
