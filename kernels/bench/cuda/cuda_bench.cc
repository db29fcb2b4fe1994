// The CUDA kernels and cuBLASLt on the machine's GPU, with weights cold:
//
//   cuda_bench [--check] [--peak-gbs=3350] [--peak-tflops=989]
//
// Prints for every case the median time of 21 runs, the bytes that must move and the products that must be
// made per second, and their share of the peaks (of the datasheet; memory bandwidth is asked of the driver if
// not given).
// --check runs every case once, small, and times nothing: also on tests/ptxsim.
#include <cmath>
#include <cstring>
#include <deque>
#include <memory>
#include <random>

#include "kernels/bench/cuda/bench_device.h"
#include "kernels/bench/cuda/dense.h"
#include "kernels/cuda/kernels.h"

namespace hydrad::bench {
namespace {

// One projection group of the model that is measured: Llama 3 8B, or something small for a check.
struct Layer {
  const char* name;
  int in;
  std::vector<int> outs;  // of each projection
  int out() const {
    int sum = 0;
    for (const int o : outs) sum += o;
    return sum;
  }
};
std::vector<Layer> Layers(bool check) {
  if (check) return {{"qkv", 64, {64, 32, 32}}, {"down", 96, {64}}};
  return {{"qkv", 4096, {4096, 1024, 1024}},
          {"o", 4096, {4096}},
          {"gate_up", 4096, {14336, 14336}},
          {"down", 14336, {4096}}};
}

// LoRA of one rank on every projection of a group; or experts of that rank, of which a gate keeps `top_k`.
class Adapter {
 public:
  Adapter(const Layer& layer, int rank, int experts = 1, int top_k = 0)
      : rows_((rank * experts + (top_k > 0 ? experts : 0)) * static_cast<int>(layer.outs.size())),
        down_(Noise<bf16>(size_t(rows_) * layer.in, 0.05f)),
        ranks_(Multiples(rank, experts)),
        scale_(std::vector<float>(experts, 2)) {
    std::vector<cuda::LoraMember> members;
    int down_begin = 0, out_begin = 0, z_begin = 0;
    for (const int out : layer.outs) {
      ups_.push_back(Noise<bf16>(size_t(rank) * experts * out, 0.05f));
      members.push_back({.down_begin = down_begin,
                         .out_begin = out_begin,
                         .out = out,
                         .experts = experts,
                         .z_begin = z_begin,
                         .gate_begin = 0,
                         .rank_begin = ranks_.data(),
                         .gate = top_k > 0 ? LoraGate{GateRule::kTopK, top_k, true} : LoraGate{},
                         .shared_a = false,
                         .scale = scale_.data(),
                         .router_bias = nullptr,
                         .up = ups_.back().data(),
                         .out_scale = nullptr,
                         .out_bias = nullptr});
      down_begin += rows_ / static_cast<int>(layer.outs.size());
      out_begin += out, z_begin += (rank * experts + 7) / 8 * 8;
    }
    members_ = std::make_unique<Array<cuda::LoraMember>>(members);
    group_ = {down_.data(), rows_, layer.in, members_->data(), static_cast<int>(members.size()), z_begin};
  }
  const cuda::LoraGroup& group() const { return group_; }

 private:
  static std::vector<int32_t> Multiples(int rank, int experts) {
    std::vector<int32_t> begin;
    for (int e = 0; e <= experts; ++e) begin.push_back(e * rank);
    return begin;
  }

  const int rows_;
  Array<bf16> down_;
  Array<int32_t> ranks_;
  Array<float> scale_;
  std::deque<Array<bf16>> ups_;
  std::unique_ptr<Array<cuda::LoraMember>> members_;
  cuda::LoraGroup group_;
};

// `count` adapters that share `rows` rows evenly, and everything that the two launches read.
class AdaptedRows {
 public:
  AdaptedRows(const Bench& bench, const Layer& layer, int rows, int count, int rank, int experts = 1,
              int top_k = 0) {
    std::vector<cuda::LoraGroup> groups;
    for (int i = 0; i < count; ++i) {
      adapters_.emplace_back(layer, rank, experts, top_k);
      groups.push_back(adapters_.back().group());
    }
    groups_ = std::make_unique<Array<cuda::LoraGroup>>(groups);
    std::vector<cuda::LoraRun> runs;
    for (int i = 0; i < count; ++i) {
      runs.push_back(
          {rows * i / count, rows * (i + 1) / count, groups_->data() + i, nullptr, 1, 0, nullptr, 0});
    }
    std::vector<cuda::LoraTile> tiles(cuda::LoraTilesAtMost(count, rows));
    cuda::LoraPlan plan{};
    cuda::PlanLoraTiles(runs, tiles.data(), &plan);
    runs_ = std::make_unique<Array<cuda::LoraRun>>(runs);
    tiles_ = std::make_unique<Array<cuda::LoraTile>>(tiles);
    plan.runs = runs_->data();
    plan.tiles = tiles_->data();
    plan.down_rows[0] = groups[0].down_rows;
    plan_ = std::make_unique<Array<cuda::LoraPlan>>(std::vector<cuda::LoraPlan>{plan});
    u_ = std::make_unique<Array<float>>(size_t(cuda::kLoraMaxSplits) * rows * groups[0].down_rows);
    z_ = std::make_unique<Array<bf16>>(size_t(rows) * groups[0].z_cols);
    arrivals_ = std::make_unique<Array<int32_t>>(std::vector<int32_t>(tiles.size(), 0));
    scratch_ = {u_->data(),
                groups[0].down_rows,
                z_->data(),
                groups[0].z_cols,
                arrivals_->data(),
                rows,
                cuda::kLoraBlocks * bench.multiprocessors()};
    const size_t places = size_t(cuda::kLoraRegroupMembers) * rows;
    picked_ = std::make_unique<Array<uint64_t>>(places);
    order_ = std::make_unique<Array<int32_t>>(std::vector<int32_t>(2 * places, 0));
    regrouped_ = {picked_->data(), order_->data(), order_->data() + places, rows};
  }
  void Shrink(Mat<const bf16> x, cudaStream_t stream) const {
    Check(cuda::LoraShrink(plan_->data(), {0, 0, 1}, x, scratch_, stream));
  }
  void Expand(Mat<bf16> y, cudaStream_t stream) const {
    Check(cuda::LoraExpand(y, plan_->data(), {0, 0, 1}, scratch_, stream));
  }
  void Regroup(cudaStream_t stream) const {
    Check(cuda::LoraRegroup(plan_->data(), {0, 0, 1}, scratch_, regrouped_, stream));
  }
  void ExpandRegrouped(Mat<bf16> y, cudaStream_t stream) const {
    Check(cuda::LoraExpandRegrouped(y, plan_->data(), {0, 0, 1}, scratch_, regrouped_, stream));
  }

 private:
  std::deque<Adapter> adapters_;
  std::unique_ptr<Array<cuda::LoraGroup>> groups_;
  std::unique_ptr<Array<cuda::LoraRun>> runs_;
  std::unique_ptr<Array<cuda::LoraTile>> tiles_;
  std::unique_ptr<Array<cuda::LoraPlan>> plan_;
  std::unique_ptr<Array<float>> u_;
  std::unique_ptr<Array<bf16>> z_;
  std::unique_ptr<Array<int32_t>> arrivals_;
  cuda::LoraScratch scratch_;
  std::unique_ptr<Array<uint64_t>> picked_;
  std::unique_ptr<Array<int32_t>> order_;  // and arrivals
  cuda::LoraRegrouped regrouped_;
};

// The base product alone, then with 1, 8 and 64 adapters: what they add.
void AdapterCases(Bench& bench) {
  const int rank = 16;
  for (const Layer& layer : Layers(bench.check())) {
    const Array<bf16> w = Noise<bf16>(size_t(layer.out()) * layer.in, 0.05f);
    for (const int rows : bench.check() ? std::vector<int>{64, 96} : std::vector<int>{1, 8, 64, 512, 2048}) {
      const Array<bf16> x = Noise<bf16>(size_t(rows) * layer.in, 1),
                        y = Noise<bf16>(size_t(rows) * layer.out(), 1);
      const Mat<const bf16> in{x.data(), rows, layer.in, layer.in};
      const Mat<bf16> out{y.data(), rows, layer.out(), layer.out()};
      const Dense dense(rows, layer.out(), layer.in);
      const double io = 2.0 * rows * (layer.in + layer.out()), weights = 2.0 * layer.in * layer.out();
      const std::string name = std::string(layer.name) + " rows " + std::to_string(rows);
      const Work base{io + weights, weights * rows};
      const double alone =
          bench.Time(name + " base", base, [&] { dense.Run(y.data(), x.data(), w.data(), bench.stream()); });
      for (const int adapters : {1, 8, 64}) {
        if (adapters > rows) continue;
        const AdaptedRows adapted(bench, layer, rows, adapters, rank);
        const int down = rank * static_cast<int>(layer.outs.size());
        const Work shrink{2.0 * (rows * layer.in + adapters * down * layer.in + rows * down),
                          2.0 * rows * down * layer.in};
        const Work expand{2.0 * (2.0 * rows * layer.out() + adapters * rank * layer.out() + rows * down),
                          2.0 * rows * rank * layer.out()};
        const std::string with = name + " adapters " + std::to_string(adapters);
        bench.Time(with + " shrink", shrink, [&] { adapted.Shrink(in, bench.stream()); });
        bench.Time(with + " expand", expand, [&] { adapted.Expand(out, bench.stream()); });
        const Work all{base.bytes + shrink.bytes + expand.bytes, base.flops + shrink.flops + expand.flops};
        const double together = bench.Time(with + " base + both", all, [&] {
          dense.Run(y.data(), x.data(), w.data(), bench.stream());
          adapted.Shrink(in, bench.stream());
          adapted.Expand(out, bench.stream());
        });
        if (alone > 0)
          std::printf("%-58s %+9.1f %% over the base\n", with.c_str(), 100 * (together / alone - 1));
      }
    }
  }
}

// Eight experts of which two are kept, multiplied all or regrouped. The work is that of what is kept.
void PickedCases(Bench& bench) {
  constexpr int kExperts = 8, kKept = 2;
  std::mt19937 random(1);
  std::uniform_real_distribution<float> number(-1, 1);
  for (const Layer& layer : Layers(bench.check())) {
    for (const int rows : bench.check() ? std::vector<int>{140} : std::vector<int>{256, 1024, 4096}) {
      std::vector<bf16> values(size_t(rows) * layer.in);  // no two rows alike, which would pick alike
      for (bf16& value : values) value = ToBf16(number(random));
      const Array<bf16> x(values), y = Noise<bf16>(size_t(rows) * layer.out(), 1);
      const Mat<bf16> out{y.data(), rows, layer.out(), layer.out()};
      for (const int rank : {16, bench.check() ? 24 : 64}) {
        const AdaptedRows adapted(bench, layer, rows, 1, rank, kExperts, kKept);
        adapted.Shrink({x.data(), rows, layer.in, layer.in}, bench.stream());
        const int z = rank * kKept * static_cast<int>(layer.outs.size());
        const Work kept{2.0 * (2.0 * rows * layer.out() + rank * kExperts * layer.out() + rows * z),
                        2.0 * rows * rank * kKept * layer.out()};
        const std::string name = std::string(layer.name) + " rows " + std::to_string(rows) + " 2 of 8 rank " +
                                 std::to_string(rank);
        bench.Time(name + " expand", kept, [&] { adapted.Expand(out, bench.stream()); });
        bench.Time(name + " regroup", {}, [&] { adapted.Regroup(bench.stream()); });
        bench.Time(name + " regrouped", kept, [&] { adapted.ExpandRegrouped(out, bench.stream()); });
      }
    }
  }
}

void RowCases(Bench& bench) {
  const int cols = bench.check() ? 64 : 4096, ffn = bench.check() ? 96 : 14336;
  for (const int rows : {1, 64, bench.check() ? 70 : 2048}) {
    const Array<float> x = Noise<float>(size_t(rows) * cols, 1), weight = Noise<float>(cols, 1);
    const Array<bf16> y(size_t(rows) * cols), delta = Noise<bf16>(size_t(rows) * cols, 1);
    const Array<bf16> gate_up = Noise<bf16>(size_t(rows) * 2 * ffn, 1), hidden(size_t(rows) * ffn);
    const std::string at = " rows " + std::to_string(rows);
    bench.Time("add + norm" + at, {12.0 * rows * cols, 0}, [&] {
      Check(cuda::AddRmsNorm({y.data(), rows, cols, cols}, {x.data(), rows, cols, cols},
                             {delta.data(), rows, cols, cols}, weight.data(), 1e-5f, bench.stream()));
    });
    bench.Time("silu * up" + at, {6.0 * rows * ffn, 0}, [&] {
      Check(cuda::SiluMul({hidden.data(), rows, ffn, ffn}, {gate_up.data(), rows, 2 * ffn, 2 * ffn},
                          bench.stream()));
    });
  }
}

// `sequences` of `context` positions, the last `rows` of each in the batch.
void AttentionCase(Bench& bench, int sequences, int context, int rows) {
  constexpr int kHeads = 32, kKvHeads = 8, kDim = 128, kBlock = 16;
  const int blocks_each = (context + kBlock - 1) / kBlock, batch = sequences * rows, width = kHeads * kDim;
  std::vector<cuda::AttentionSegment> segments;
  std::vector<int32_t> tables;
  for (int s = 0; s < sequences; ++s) {
    segments.push_back({s * rows, (s + 1) * rows, context - rows, static_cast<int32_t>(tables.size())});
    for (int b = 0; b < blocks_each; ++b) tables.push_back(b * sequences + s);
  }
  std::vector<cuda::AttentionItem> items;
  std::vector<cuda::AttentionMerge> merges;
  const int group = kHeads / kKvHeads;
  // Room for every split of the contexts that are split.
  const int partials =
      rows * group <= cuda::kAttentionSplitPairs ? batch * group * cuda::kAttentionMaxSplits : 1;
  cuda::PlanAttention(segments, group, partials, &items, &merges);
  const Array<cuda::AttentionSegment> segment_list(segments);
  const Array<int32_t> table_list(tables);
  const Array<cuda::AttentionItem> item_list(items);
  const Array<cuda::AttentionMerge> merge_list(merges);
  const Array<cuda::AttentionPlan> plan(std::vector<cuda::AttentionPlan>{
      {segment_list.data(), table_list.data(), item_list.data(), merge_list.data(),
       static_cast<int>(items.size()), static_cast<int>(merges.size())}});
  const size_t cached = tables.size() * kBlock * kKvHeads * kDim;
  const Array<bf16> k = Noise<bf16>(cached, 1), v = Noise<bf16>(cached, 1),
                    q = Noise<bf16>(size_t(batch) * width, 1);
  const Array<bf16> out(size_t(batch) * width);
  const Array<float> parts(size_t(partials) * kKvHeads * kDim);
  const Array<float2> sums(size_t(partials) * kKvHeads);
  const double seen = double(rows) * context - rows * (rows - 1) / 2.0;  // pairs of positions
  bench.Time(
      "attention sequences " + std::to_string(sequences) + " context " + std::to_string(context) + " rows " +
          std::to_string(rows),
      {4.0 * batch * width + 4.0 * sequences * context * kKvHeads * kDim, 4.0 * sequences * seen * width},
      [&] {
        Check(cuda::Attend(
            {out.data(), batch, width, width}, {q.data(), batch, width, width},
            {k.data(), v.data(), kBlock, kKvHeads, kDim}, plan.data(), 0.088f,
            {parts.data(), sums.data(), partials, cuda::AttentionBlocks(kDim) * bench.multiprocessors()},
            bench.stream()));
      });
}

void SamplingCases(Bench& bench) {
  const int vocab = bench.check() ? 2000 : 128256;
  for (const int rows : {1, bench.check() ? 3 : 64}) {
    const Array<float> logits = Noise<float>(size_t(rows) * vocab, 8);
    const Array<cuda::SampleResult> results(rows);
    const Array<TokenLogprob> top(rows);
    for (const float temperature : {0.f, 0.8f}) {
      std::vector<cuda::SampleRow> draws;
      for (int r = 0; r < rows; ++r) {
        cuda::SampleRow draw{};
        draw.row = r;
        draw.scored = draw.top = -1;
        draw.temperature = temperature;
        draw.top_p = 0.9f;
        draws.push_back(draw);
      }
      const Array<cuda::SampleRow> list(draws);
      bench.Time(std::string(temperature == 0 ? "greedy" : "top_p 0.9") + " rows " + std::to_string(rows),
                 {4.0 * rows * vocab, 0}, [&] {
                   Check(cuda::Sample({logits.data(), rows, vocab, vocab}, list.data(), rows, nullptr,
                                      results.data(), top.data(), 1, bench.stream()));
                 });
    }
  }
}

// The driver's clock and bus width; 0 where it does not tell.
double BandwidthOfDevice() {
  int khz = 0, bits = 0;
  if (cudaDeviceGetAttribute(&khz, cudaDevAttrMemoryClockRate, 0) != cudaSuccess) return 0;
  if (cudaDeviceGetAttribute(&bits, cudaDevAttrGlobalMemoryBusWidth, 0) != cudaSuccess) return 0;
  return 2.0 * khz * bits / 8 / 1e6;
}

int Main(int argc, char** argv) {
  bool check = false;
  double gbs = 0, tflops = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--check") == 0) {
      check = true;
    } else if (std::strncmp(argv[i], "--peak-gbs=", 11) == 0) {
      gbs = std::atof(argv[i] + 11);
    } else if (std::strncmp(argv[i], "--peak-tflops=", 14) == 0) {
      tflops = std::atof(argv[i] + 14);
    } else {
      std::fprintf(stderr, "usage: cuda_bench [--check] [--peak-gbs=X] [--peak-tflops=X]\n");
      return 2;
    }
  }
  int devices = 0;
  Check(cudaGetDeviceCount(&devices));
  Bench bench(check, gbs > 0 ? gbs : BandwidthOfDevice(), tflops);
  AdapterCases(bench);
  PickedCases(bench);
  RowCases(bench);
  if (check) {
    AttentionCase(bench, 2, 80, 1);
    AttentionCase(bench, 1, 40, 20);
  } else {
    for (const int context : {512, 4096, 32768}) AttentionCase(bench, 1, context, 1);
    for (const int context : {512, 4096}) AttentionCase(bench, 64, context, 1);
    AttentionCase(bench, 1, 2048, 2048);
    AttentionCase(bench, 1, 8192, 512);
  }
  SamplingCases(bench);
  return 0;
}

}  // namespace
}  // namespace hydrad::bench

int main(int argc, char** argv) { return hydrad::bench::Main(argc, argv); }
