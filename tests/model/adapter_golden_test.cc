// Adapters of every family, read from their files, against peft and the HydraLoRA rule. Built twice: for the
// small models, and with HYDRAD_SMOLLM2 for those of the default model.
#include <gtest/gtest.h>

#include "server/adapters/formats/posix_disk.h"
#include "server/adapters/formats/read_adapter.h"
#include "server/backend/cpu/cpu_backend.h"
#include "tests/model/golden.h"

namespace hydrad {
namespace {

class AdapterGolden : public ::testing::TestWithParam<std::string> {
 protected:
  static void Check(DType weight_type) {
    const GoldenCase golden = LoadGolden(GetParam());
    const auto backend = MakeCpuBackend({.threads = 2, .weight_type = weight_type});
    auto model = LoadTransformer(ModelDir(golden), *backend,
                                 {.max_rows = 256, .max_logit_rows = 256, .kv_blocks = 64});
    ASSERT_TRUE(model.ok()) << model.status();
    const AdapterShape shape = (*model)->config().adapter_shape();
    const auto disk = MakePosixDisk(".");
    const auto base = BaseWeights::Open(ModelDir(golden), (*model)->config());
    ASSERT_TRUE(base.ok()) << base.status();
    std::vector<int32_t> invocation;
    std::vector<std::unique_ptr<DeviceAdapter>> adapters;
    std::vector<const DeviceAdapter*> views;
    for (const std::string& path : golden.adapters) {
      const auto contents = ReadAdapter(*disk, path, shape, 1u << 30, base->get());
      ASSERT_TRUE(contents.ok()) << contents.status();
      auto adapter = backend->LoadAdapter(contents->weights, shape);
      ASSERT_TRUE(adapter.ok()) << adapter.status();
      adapters.push_back(*std::move(adapter));
      invocation = contents->invocation;
      views.push_back(adapters.back().get());
    }
    CheckGolden(golden, **model, views, weight_type == DType::kBf16, (*model)->limits().max_context,
                invocation);
  }
};

TEST_P(AdapterGolden, F32AgreesWithTheReference) { Check(DType::kF32); }
TEST_P(AdapterGolden, Bf16IsNoWorseThanTheReferencesBf16) { Check(DType::kBf16); }

#ifdef HYDRAD_SMOLLM2
constexpr bool kOfSmollm2 = true;
#else
constexpr bool kOfSmollm2 = false;
#endif
INSTANTIATE_TEST_SUITE_P(Families, AdapterGolden,
                         ::testing::ValuesIn(GoldenNames(/*adapter=*/true, kOfSmollm2)),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hydrad
