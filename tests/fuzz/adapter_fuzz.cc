// Any two files as an adapter's directory (the config, a zero byte, the tensors): whatever is read must fit
// the base model. The readers of every family are behind this door.
#include <string>

#include "server/adapters/formats/read_adapter.h"
#include "server/base/check.h"
#include "tests/fakes/adapter_files.h"
#include "tests/fakes/fake_disk.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  if (zero == input.npos) return 0;
  hydrad::FakeDisk disk;
  disk.Put("adapter", {{"adapter_config.json", input.substr(0, zero)},
                       {"adapter_model.safetensors", input.substr(zero + 1)}});
  auto shape = hydrad::TinyModel().adapter_shape();
  shape.more_tokens = 3;
  const auto contents = hydrad::ReadAdapter(disk, "adapter", shape, 1 << 20);
  const auto lenient = hydrad::ReadAdapter(disk, "adapter", shape, 1 << 20, nullptr, /*lenient=*/true);
  HYDRAD_CHECK(lenient.ok() || !contents.ok());  // it takes all that is taken otherwise
  if (!contents.ok()) return 0;
  HYDRAD_CHECK(contents->max_rank > 0 && contents->experts > 0 && !contents->targets.empty());
  HYDRAD_CHECK(contents->warnings.empty() && lenient->warnings.empty());
  return 0;
}
