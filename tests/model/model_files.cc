#include "tests/model/model_files.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "server/base/check.h"
#include "server/base/file.h"
#include "server/model/safetensors.h"

namespace hydrad {

TensorFiles ReadTensors(const std::string& path) {
  const auto file = ReadFile(path);
  HYDRAD_CHECK(file.ok());
  const auto parsed = Safetensors::ParseBytes(std::as_bytes(std::span(*file)), Safetensors::kMaxModelHeader);
  HYDRAD_CHECK(parsed.ok());
  TensorFiles tensors;
  for (const auto& [name, tensor] : parsed->tensors()) {
    const char* bytes = reinterpret_cast<const char*>(tensor.data.data());
    tensors[name] = {tensor.dtype, tensor.shape, std::string(bytes, tensor.data.size())};
  }
  return tensors;
}

void WriteTensors(const std::string& path, const TensorFiles& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&length), sizeof(length)) << text << data;
}

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "hydrad_test_XXXXXX").string();
  HYDRAD_CHECK(mkdtemp(name.data()) != nullptr);
  path_ = name;
}

void TempDir::Write(const std::string& name, std::string_view text) const {
  std::ofstream(path_ + "/" + name, std::ios::binary) << text;
}

}  // namespace hydrad
