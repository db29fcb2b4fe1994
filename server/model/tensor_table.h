// Every tensor of a base model: its name in the checkpoint, its shape, and where it goes. The loader, its
// checks and its error texts all read this one list; a new tensor is a new row.
#ifndef HYDRAD_SERVER_MODEL_TENSOR_TABLE_H_
#define HYDRAD_SERVER_MODEL_TENSOR_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "server/model/model_config.h"

namespace hydrad {

// The weights that the network multiplies or scales by. Those of the layers exist once per layer.
enum class WeightId : uint8_t {
  kEmbedding,
  kLmHead,  // not with tied embeddings
  kFinalNorm,
  kAttentionNorm,
  kQkv,  // q, k and v stacked: they read the same input
  kQNorm,
  kKNorm,
  kO,
  kFfnNorm,
  kGateUp,  // gate and up stacked
  kDown,
};

struct TensorRow {
  std::string name;   // "{}" stands for the number of the layer
  WeightId into;      // rows that go into the same weight stack in the order of the table
  int rows, cols;     // [rows, cols], or [cols] when rows is 1
  bool bias = false;  // a part of the bias of `into`, not of its matrix
};

// The tensors outside the layers, and those of one layer.
std::vector<TensorRow> GlobalTensors(const ModelConfig& config);
std::vector<TensorRow> LayerTensors(const ModelConfig& config);

// The row's name in `layer`.
std::string TensorName(const TensorRow& row, int layer);

// Tensors that some checkpoints hold and nobody needs: the rotary table of old ones, lm_head when it is tied.
bool MayBeLeftOver(const ModelConfig& config, std::string_view name);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_MODEL_TENSOR_TABLE_H_
