// Prints prefill and decode speed of a base model, alone and with an adapter of its own for every sequence.
//
//   model_bench [DIR] [--threads=N] [--rounds=N] [--profile]      DIR: build/models/smollm2
//
// Every round measures the machine's limits and then all cases once, next to each other, because a shared
// machine moves by 2x within seconds. The table holds the best and the median round; `of limit` is the median
// of each round's own ratio: the time that reading the weights and the cache once (or, for many rows, the
// multiplications) would take, over the time taken. --profile adds the share of every op.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <random>

#include "kernels/bench/machine_limits.h"
#include "kernels/simd/pool.h"
#include "server/backend/cpu/cpu_backend.h"
#include "server/base/check.h"
#include "server/model/bench/timed_backend.h"
#include "server/model/transformer.h"

namespace hydrad::bench {
namespace {

constexpr int kContext = 256;  // positions that a decoding sequence has behind it
constexpr int kMaxSequences = 64, kRank = 16;

struct Case {
  const char* name;
  int sequences, rows_each;
  bool adapters;
};
constexpr Case kCases[] = {
    {"prefill 256", 1, 256, false},          {"prefill 512", 1, 512, false},
    {"prefill 256, adapter", 1, 256, true},  {"decode 1", 1, 1, false},
    {"decode 1, adapter", 1, 1, true},       {"decode 16", 16, 1, false},
    {"decode 16, 16 adapters", 16, 1, true}, {"decode 64", 64, 1, false},
    {"decode 64, 64 adapters", 64, 1, true},
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// LoRA of rank kRank on all seven projections; every adapter has memory of its own.
class Adapters {
 public:
  Adapters(Backend& backend, const AdapterShape& shape) {
    const int in[] = {shape.hidden, shape.hidden, shape.hidden, shape.q_out,
                      shape.hidden, shape.hidden, shape.ffn};
    const int out[] = {shape.q_out, shape.kv_out, shape.kv_out, shape.hidden,
                       shape.ffn,   shape.ffn,    shape.hidden};
    const std::vector<float> factor(static_cast<size_t>(std::max(shape.ffn, shape.hidden)) * kRank, 0.01f);
    AdapterWeights weights;
    for (int layer = 0; layer < shape.layers; ++layer) {
      for (int p = 0; p < kLayerProjections; ++p) {
        ProjectionWeights w;
        w.layer = layer;
        w.projection = static_cast<Projection>(p);
        w.a = {{factor.data(), DType::kF32, kRank, in[p]}};
        w.b = {{factor.data(), DType::kF32, out[p], kRank}};
        w.scale = {1};
        weights.projections.push_back(w);
      }
    }
    for (int i = 0; i < kMaxSequences; ++i) loaded_.push_back(*backend.LoadAdapter(weights, shape));
  }
  const DeviceAdapter* at(int i) const { return loaded_[i].get(); }

 private:
  std::vector<std::unique_ptr<DeviceAdapter>> loaded_;
};

// Prefill begins at position 0; decode continues behind kContext positions, whose cache holds zeros.
Batch MakeBatch(const Case& c, const ModelLimits& limits, int vocab, const Adapters& adapters) {
  Batch batch;
  const int first = c.rows_each == 1 ? kContext : 0;
  const int blocks = limits.kv_blocks / kMaxSequences;
  std::mt19937 random(1);
  for (int s = 0; s < c.sequences; ++s) {
    const int begin = batch.rows(), first_block = c.sequences == 1 ? 0 : s * blocks;
    batch.segments.push_back(
        {begin, begin + c.rows_each, first, static_cast<int32_t>(batch.block_tables.size())});
    const int needed = (first + c.rows_each + limits.block_size - 1) / limits.block_size;
    for (int b = 0; b < needed; ++b) batch.block_tables.push_back(first_block + b);
    for (int i = 0; i < c.rows_each; ++i) {
      batch.tokens.push_back(static_cast<int32_t>(random() % vocab));
      batch.positions.push_back(first + i);
      batch.slots.push_back(first_block * limits.block_size + first + i);
    }
    if (c.adapters) batch.runs.push_back({begin, batch.rows(), adapters.at(s)->slot()});
    batch.logit_rows.push_back(batch.rows() - 1);
  }
  return batch;
}

struct Result {
  std::vector<double> seconds, share;
  std::map<std::string, double> by_op;
};

class Bench {
 public:
  Bench(const std::string& dir, int threads)
      : now_(threads == 1 ? &ThreadCpuSeconds : &WallSeconds),
        inner_(MakeCpuBackend({.threads = threads})),
        backend_(*inner_, now_),
        pool_(threads) {
    const double begin = now_();
    auto loaded = LoadTransformer(dir, backend_,
                                  {.max_rows = 512, .max_logit_rows = 64, .kv_blocks = kMaxSequences * 32});
    if (!loaded.ok()) {
      std::fprintf(stderr, "%s\n", std::string(loaded.status().message()).c_str());
      std::exit(1);
    }
    model_ = *std::move(loaded);
    std::printf("%s, %s: %.0f MB of weights loaded in %.2f s\n", dir.c_str(), backend_.description().c_str(),
                static_cast<double>(backend_.weight_bytes()) / 1e6, now_() - begin);
    adapters_ = std::make_unique<Adapters>(backend_, model_->config().adapter_shape());
    memory_.resize(size_t{256} << 20, std::byte{1});
  }

  void Round(std::map<std::string, Result>& results) {
    const double bytes_per_second = BytesPerSecond(), flops = FlopsPerSecond();
    bandwidth_.push_back(bytes_per_second);
    for (const Case& c : kCases) {
      const Batch batch = MakeBatch(c, model_->limits(), model_->config().vocab_size, *adapters_);
      backend_.seconds().clear();
      const double begin = now_();
      HYDRAD_CHECK(model_->Launch(batch, {}, {}).Wait().ok());
      const double seconds = now_() - begin;
      Result& result = results[c.name];
      result.seconds.push_back(seconds);
      result.share.push_back(std::max(Bytes(c) / bytes_per_second, Flops(c) / flops) / seconds);
      for (const auto& [op, time] : backend_.seconds()) result.by_op[op] += time;
    }
  }

  void Print(std::map<std::string, Result>& results, bool profile) {
    std::printf("memory read %.1f GB/s (median)\n\n%-24s %10s %10s %10s %9s\n", Median(bandwidth_) / 1e9, "",
                "best ms", "median ms", "tokens/s", "of limit");
    for (const Case& c : kCases) {
      const Result& r = results[c.name];
      const double median = Median(r.seconds), best = *std::min_element(r.seconds.begin(), r.seconds.end());
      std::printf("%-24s %10.2f %10.2f %10.0f %8.0f%%\n", c.name, best * 1e3, median * 1e3,
                  c.sequences * c.rows_each / median, Median(r.share) * 100);
      if (profile) PrintOps(r);
    }
  }

 private:
  double BytesPerSecond() {
    const double begin = now_();
    ReadSeconds(pool_, memory_.data(), static_cast<long>(memory_.size()));
    return static_cast<double>(memory_.size()) / (now_() - begin);
  }
  // The limits are taken by the wall clock; this turns them into the clock at hand.
  double FlopsPerSecond() {
    const double wall = WallSeconds(), begin = now_();
    const double flops = std::max(DotBf16Flops(pool_), FmaFlops(pool_));
    return flops * (WallSeconds() - wall) / (now_() - begin);
  }
  double Bytes(const Case& c) const {
    const int positions = c.rows_each == 1 ? kContext + 1 : c.rows_each;
    const double kv =
        static_cast<double>(KvBlockBytes(model_->config(), model_->limits(), backend_.kv_type())) /
        model_->limits().block_size * positions * c.sequences;
    const double adapters = c.adapters ? static_cast<double>(adapters_->at(0)->bytes()) * c.sequences : 0;
    return static_cast<double>(backend_.weight_bytes()) + kv + adapters;
  }
  // Of the dense products; the output layer sees one row a sequence.
  double Flops(const Case& c) const {
    const ModelConfig& m = model_->config();
    const AdapterShape s = m.adapter_shape();
    const double layer = static_cast<double>(m.hidden_size) * (2.0 * s.q_out + 2.0 * s.kv_out + 3.0 * s.ffn);
    const double rows = c.sequences * c.rows_each;
    return 2 *
           (rows * m.num_layers * layer + static_cast<double>(c.sequences) * m.vocab_size * m.hidden_size);
  }
  static void PrintOps(const Result& result) {
    double total = 0;
    std::vector<std::pair<double, std::string>> ops;
    for (const auto& [op, seconds] : result.by_op) total += seconds, ops.emplace_back(seconds, op);
    std::sort(ops.rbegin(), ops.rend());
    for (const auto& [seconds, op] : ops) {
      if (seconds > 0.005 * total) std::printf("    %-20s %5.1f%%\n", op.c_str(), 100 * seconds / total);
    }
  }

  const SecondsNow now_;
  std::unique_ptr<Backend> inner_;
  TimedBackend backend_;
  simd::Pool pool_;
  std::unique_ptr<Transformer> model_;
  std::unique_ptr<Adapters> adapters_;
  std::vector<std::byte> memory_ = {};
  std::vector<double> bandwidth_;
};

int Main(int argc, char** argv) {
  std::string dir = "build/models/smollm2";
  int threads = 0, rounds = 9;
  bool profile = false;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg.rfind("--threads=", 0) == 0) {
      threads = std::atoi(argv[i] + 10);
    } else if (arg.rfind("--rounds=", 0) == 0) {
      rounds = std::max(1, std::atoi(argv[i] + 9));
    } else if (arg == "--profile") {
      profile = true;
    } else {
      dir = arg;
    }
  }
  Bench bench(dir, threads);
  std::map<std::string, Result> warm_up, results;
  bench.Round(warm_up);
  for (int round = 0; round < rounds; ++round) bench.Round(results);
  bench.Print(results, profile);
  return 0;
}

}  // namespace
}  // namespace hydrad::bench

int main(int argc, char** argv) { return hydrad::bench::Main(argc, argv); }
