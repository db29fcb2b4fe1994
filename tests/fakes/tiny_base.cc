#include "tests/fakes/tiny_base.h"

#include <stdlib.h>

#include <cstring>
#include <fstream>

#include "server/base/check.h"
#include "server/model/tensor_table.h"

namespace hydrad {

TinyBase::TinyBase(const ModelConfig& config) {
  std::string name = (std::filesystem::temp_directory_path() / "hydrad_base_XXXXXX").string();
  HYDRAD_CHECK(mkdtemp(name.data()) != nullptr);
  dir_ = name;
  const auto add = [this](const TensorRow& row, int layer) {
    const auto shape =
        row.rows == 1 ? std::vector<int64_t>{row.cols} : std::vector<int64_t>{row.rows, row.cols};
    tensors_[TensorName(row, layer)] =
        MakeTensor("F32", shape, 7000 + static_cast<uint32_t>(tensors_.size()));
  };
  for (const TensorRow& row : GlobalTensors(config)) add(row, 0);
  for (const TensorRow& row : LayerTensors(config)) {
    for (int layer = 0; layer < config.num_layers; ++layer) add(row, layer);
  }
  std::ofstream(dir_ + "/model.safetensors", std::ios::binary) << SafetensorsBytes(tensors_);
  auto opened = BaseWeights::Open(dir_, config);
  HYDRAD_CHECK(opened.ok());
  weights_ = *std::move(opened);
}

std::vector<float> ValuesOf(const FakeTensor& tensor) {
  HYDRAD_CHECK(tensor.dtype == "F32");
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

}  // namespace hydrad
