// Any text as a config.json: whatever parses must describe a network whose sizes multiply within an int.
#include <cmath>

#include "server/base/check.h"
#include "server/model/model_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto config = hydrad::ParseModelConfig({reinterpret_cast<const char*>(data), size});
  if (!config.ok()) return 0;
  HYDRAD_CHECK(config->num_kv_heads > 0 && config->num_heads % config->num_kv_heads == 0);
  HYDRAD_CHECK(config->head_dim > 0 && config->head_dim % 2 == 0);
  HYDRAD_CHECK(int64_t{config->num_heads} * config->head_dim * 3 < INT32_MAX);
  HYDRAD_CHECK(int64_t{config->ffn_size} * 2 < INT32_MAX && config->vocab_size > 0);
  for (const double frequency : hydrad::InverseFrequencies(*config)) HYDRAD_CHECK(std::isfinite(frequency));
  return 0;
}
