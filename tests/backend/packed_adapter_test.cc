#include "server/backend/cpu/packed_adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/model/adapters.h"

namespace hydrad {
namespace {

using ::testing::HasSubstr;

constexpr AdapterShape kShape{.layers = 3, .hidden = 10, .q_out = 12, .kv_out = 6, .ffn = 17};

float At(const HostMatrix& m, int row, int col) {
  return static_cast<const float*>(m.data)[row * m.cols + col];
}

double Dot(const HostMatrix& m, int row, const std::vector<float>& x) {
  double sum = 0;
  for (size_t i = 0; i < x.size(); ++i) sum += At(m, row, static_cast<int>(i)) * x[i];
  return sum;
}

std::vector<double> GatesByFormula(const ProjectionWeights& p, const std::vector<float>& x) {
  const int experts = static_cast<int>(p.b.size());
  if (p.gate.rule == GateRule::kNone) return std::vector<double>(experts, 1.0);
  const auto bias = [&](int e) { return p.router_bias.empty() ? 0 : p.router_bias[e]; };
  std::vector<double> gate(experts);
  double sum = 0;
  for (int e = 0; e < experts; ++e) sum += gate[e] = std::exp(Dot(p.router, e, x) + bias(e));
  for (double& g : gate) g /= sum;
  std::vector<double> sorted = gate;
  std::sort(sorted.begin(), sorted.end(), std::greater());
  double least = 0, off = 0, kept = 0;
  if (p.gate.rule == GateRule::kTopK) least = sorted[p.gate.top_k - 1];
  if (p.gate.rule == GateRule::kFixedThreshold) least = p.gate.threshold;
  if (p.gate.rule == GateRule::kThreshold) {
    least = off = p.gate.threshold / (1 + std::exp(-Dot(p.threshold, 0, x) - bias(experts)));
  }
  for (double& g : gate) kept += g = g < least ? 0 : g - off;
  const bool divide = p.gate.renormalize || HasThreshold(p.gate.rule);
  for (double& g : gate) g = divide && kept > 0 ? g / kept : g;
  return gate;
}

// The formula of adapter_weights.h, straight from the host matrices, in double; on a base output of 1.
std::vector<double> ByFormula(const ProjectionWeights& p, const std::vector<float>& x) {
  const std::vector<double> gate = GatesByFormula(p, x);
  std::vector<double> y(p.b[0].rows, 1.0);
  for (size_t e = 0; e < p.b.size(); ++e) {
    const HostMatrix& a = p.a[p.a.size() == 1 ? 0 : e];
    for (int j = 0; j < a.rows; ++j) {
      const double u = Dot(a, j, x);
      for (size_t n = 0; n < y.size(); ++n)
        y[n] += gate[e] * p.scale[e] * u * At(p.b[e], static_cast<int>(n), j);
    }
  }
  for (size_t n = 0; n < y.size(); ++n) {
    if (!p.out_scale.empty()) y[n] *= p.out_scale[n];
    if (!p.out_bias.empty()) y[n] += p.out_bias[n];
  }
  return y;
}

// What the packed adapter adds to one projection, through the reference kernel.
std::vector<float> ByKernel(const PackedAdapter<float>& packed, int layer, ProjectionGroup group, int outputs,
                            const std::vector<float>& x) {
  std::vector<float> y(outputs, 1.f), in = x;
  const LoraRun<float> run{0, 1, &packed.group(layer, group)};
  const int width = static_cast<int>(in.size());
  ref::AddLora<float>({y.data(), 1, outputs, outputs}, {in.data(), 1, width, width}, {&run, 1});
  return y;
}

std::vector<float> Input(int width) {
  std::vector<float> x(width);
  for (int i = 0; i < width; ++i) x[i] = 0.1f * static_cast<float>(i % 7) - 0.2f;
  return x;
}

struct Place {
  ProjectionGroup group;
  int begin, outputs, in;
};
Place PlaceOf(Projection p) {
  const Place places[] = {{ProjectionGroup::kQkv, 0, 24, 10},    {ProjectionGroup::kQkv, 12, 24, 10},
                          {ProjectionGroup::kQkv, 18, 24, 10},   {ProjectionGroup::kO, 0, 10, 12},
                          {ProjectionGroup::kGateUp, 0, 34, 10}, {ProjectionGroup::kGateUp, 17, 34, 10},
                          {ProjectionGroup::kDown, 0, 10, 17}};
  return places[static_cast<int>(p)];
}

void ExpectSameChange(const AdapterWeights& weights) {
  const auto packed = PackedAdapter<float>::Pack(weights, kShape);
  ASSERT_TRUE(packed.ok()) << packed.status();
  EXPECT_EQ((*packed)->bytes(), PackedAdapter<float>::Bytes(weights, kShape));
  for (const ProjectionWeights& p : weights.projections) {
    const Place place = PlaceOf(p.projection);
    const std::vector<float> x = Input(place.in);
    const auto expected = ByFormula(p, x);
    const auto got = ByKernel(**packed, p.layer, place.group, place.outputs, x);
    for (size_t n = 0; n < expected.size(); ++n) {
      EXPECT_NEAR(got[place.begin + n], expected[n], 1e-5)
          << "layer " << p.layer << " " << kProjectionNames[static_cast<int>(p.projection)];
    }
  }
}

constexpr LoraGate kDense{GateRule::kSoftmax};

TEST(PackedAdapter, ComputesTheFormulaOfEveryFamily) {
  ExpectSameChange(RandomAdapter(1, kShape, {.rank = 4}));
  ExpectSameChange(RandomAdapter(2, kShape, {.rank = 1, .targets = {Projection::kV}}));
  ExpectSameChange(RandomAdapter(3, kShape, {.rank = 3, .experts = 4, .shared_a = true, .gate = kDense}));
  ExpectSameChange(RandomAdapter(4, kShape, {.rank = 2, .experts = 3, .gate = kDense, .router_bias = true}));
  ExpectSameChange(
      RandomAdapter(5, kShape, {.rank = 2, .experts = 3, .targets = {Projection::kUp, Projection::kO}}));
  ExpectSameChange(
      RandomAdapter(6, kShape, {.experts = 4, .gate = {GateRule::kTopK, 2, true}, .ranks = {1, 5, 2, 9}}));
  ExpectSameChange(RandomAdapter(
      7, kShape, {.rank = 3, .experts = 5, .shared_a = true, .gate = {GateRule::kTopK, 1, false}}));
  ExpectSameChange(RandomAdapter(
      8, kShape,
      {.rank = 2, .experts = 4, .gate = {GateRule::kThreshold, 0, false, 0.5f}, .router_bias = true}));
  ExpectSameChange(RandomAdapter(
      10, kShape, {.rank = 2, .experts = 4, .gate = {GateRule::kFixedThreshold, 0, false, 0.25f}}));
  ExpectSameChange(RandomAdapter(9, kShape, {.rank = 2, .out_scale = true, .out_bias = true}));
}

// A record's row has the routed projections' gates one after the other.
TEST(PackedAdapter, PlacesItsGates) {
  AdapterWeights weights = RandomAdapter(
      1, kShape, {.experts = 3, .gate = kDense, .targets = {Projection::kV, Projection::kDown}});
  weights.projections[1].gate = {};  // layer 0's down is not routed
  const auto packed = PackedAdapter<bf16>::Pack(weights, kShape);
  ASSERT_TRUE(packed.ok());
  const auto places = (*packed)->gate_places();
  ASSERT_EQ(places.size(), 5);
  EXPECT_EQ((*packed)->gate_count(), 15);
  EXPECT_EQ(places[1].layer, 1);
  EXPECT_EQ(places[1].projection, Projection::kV);
  EXPECT_EQ(places[1].begin, 3);
  EXPECT_EQ(places[1].experts, 3);
  EXPECT_EQ((*packed)->gate_begin(1, ProjectionGroup::kQkv), 3);
  EXPECT_EQ((*packed)->gate_begin(2, ProjectionGroup::kDown), 12);
}

// A sum of LoRAs of different ranks.
TEST(PackedAdapter, SumsExpertsOfDifferentRanks) {
  AdapterWeights weights = RandomAdapter(1, kShape, {.rank = 4, .targets = {Projection::kK}});
  const AdapterWeights other = RandomAdapter(2, kShape, {.rank = 1, .targets = {Projection::kK}});
  for (size_t i = 0; i < weights.projections.size(); ++i) {
    weights.projections[i].a.push_back(other.projections[i].a[0]);
    weights.projections[i].b.push_back(other.projections[i].b[0]);
    weights.projections[i].scale.push_back(-2);
  }
  ExpectSameChange(weights);
}

TEST(PackedAdapter, LeavesOtherGroupsWithoutMembers) {
  const auto packed =
      PackedAdapter<bf16>::Pack(RandomAdapter(1, kShape, {.targets = {Projection::kQ}}), kShape);
  ASSERT_TRUE(packed.ok());
  for (int layer = 0; layer < kShape.layers; ++layer) {
    EXPECT_EQ((*packed)->group(layer, ProjectionGroup::kQkv).members.size(), 1);
    EXPECT_TRUE((*packed)->group(layer, ProjectionGroup::kO).members.empty());
    EXPECT_TRUE((*packed)->group(layer, ProjectionGroup::kGateUp).members.empty());
    EXPECT_TRUE((*packed)->group(layer, ProjectionGroup::kDown).members.empty());
  }
}

TEST(PackedAdapter, TakesAnAdapterThatChangesNothing) {
  const auto packed = PackedAdapter<bf16>::Pack({}, kShape);
  ASSERT_TRUE(packed.ok());
  EXPECT_TRUE((*packed)->group(2, ProjectionGroup::kDown).members.empty());
}

// Ranks are not padded: twice the rank is twice the factors, and nothing else grows.
TEST(PackedAdapter, TakesMemoryInProportionToItsRank) {
  const auto bytes = [](int rank) {
    return PackedAdapter<bf16>::Bytes(RandomAdapter(1, {2, 64, 64, 64, 64}, {.rank = rank}),
                                      {2, 64, 64, 64, 64});
  };
  const size_t per_rank = 2 * kLayerProjections * (64 + 64) * sizeof(bf16);
  EXPECT_EQ(bytes(2) - bytes(1), per_rank);
  EXPECT_EQ(bytes(17) - bytes(16), per_rank);
}

TEST(PackedAdapter, RefusesWhatDoesNotFitByLayerAndProjection) {
  struct Fault {
    const char* error;
    std::function<void(AdapterWeights&)> break_it;
  };
  const HostMatrix thin{nullptr, DType::kF32, 2, 9};
  const Fault kFaults[] = {
      {"the model has 3 layers", [](AdapterWeights& w) { w.projections[1].layer = 3; }},
      {"the model has 3 layers", [](AdapterWeights& w) { w.projections[1].layer = -1; }},
      {"given twice", [](AdapterWeights& w) { w.projections[1] = w.projections[0]; }},
      {"has no expert", [](AdapterWeights& w) { w.projections[1].b.clear(); }},
      {"one A, or one per expert", [](AdapterWeights& w) { w.projections[1].a.pop_back(); }},
      {"one scale per expert", [](AdapterWeights& w) { w.projections[1].scale.pop_back(); }},
      {"an A of a wrong shape", [&](AdapterWeights& w) { w.projections[1].a[0] = thin; }},
      {"a B of a wrong shape", [](AdapterWeights& w) { w.projections[1].b[1].rows += 1; }},
      {"no router", [](AdapterWeights& w) { w.projections[1].router.data = nullptr; }},
      {"a router of a wrong shape", [](AdapterWeights& w) { w.projections[1].router.rows -= 1; }},
      {"a router bias of a wrong length", [](AdapterWeights& w) { w.projections[1].router_bias.pop_back(); }},
      {"keeps no expert",
       [](AdapterWeights& w) {
         w.projections[1].gate = {GateRule::kTopK, 0};
       }},
      {"no threshold", [](AdapterWeights& w) { w.projections[1].threshold.data = nullptr; }},
      {"a threshold of a wrong shape", [](AdapterWeights& w) { w.projections[1].threshold.rows = 2; }},
      {"an output scale of a wrong length", [](AdapterWeights& w) { w.projections[1].out_scale.pop_back(); }},
      {"an output bias of a wrong length", [](AdapterWeights& w) { w.projections[1].out_bias.pop_back(); }},
  };
  for (const Fault& fault : kFaults) {
    AdapterWeights weights = RandomAdapter(1, kShape,
                                           {.rank = 2,
                                            .experts = 3,
                                            .gate = {GateRule::kThreshold, 0, false, 0.5f},
                                            .router_bias = true,
                                            .out_scale = true,
                                            .out_bias = true});
    fault.break_it(weights);
    const absl::Status status = PackedAdapter<bf16>::Pack(weights, kShape).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << fault.error;
    EXPECT_THAT(std::string(status.message()), HasSubstr(fault.error));
    EXPECT_THAT(std::string(status.message()), HasSubstr("layer "));
    EXPECT_EQ(PackedAdapter<bf16>::Bytes(weights, kShape), 0);
  }
}

}  // namespace
}  // namespace hydrad
