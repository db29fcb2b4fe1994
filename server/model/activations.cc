#include "server/model/activations.h"

#include <utility>

#include "server/backend/backend.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

size_t PaddedBytes(const Tensor& t) {
  const size_t bytes = BytesOf(static_cast<size_t>(t.rows) * t.stride, t.dtype);
  return (bytes + 255) / 256 * 256;
}

}  // namespace

absl::StatusOr<Activations> Activations::Allocate(Backend& backend, const ModelConfig& c,
                                                  const ModelLimits& limits) {
  const int q_out = c.num_heads * c.head_dim, kv_out = c.num_kv_heads * c.head_dim;
  Activations a;
  const std::pair<Tensor*, int> by_row[] = {
      {&a.x, c.hidden_size},   {&a.normed, c.hidden_size}, {&a.qkv, q_out + 2 * kv_out},
      {&a.attended, q_out},    {&a.out, c.hidden_size},    {&a.gate_up, 2 * c.ffn_size},
      {&a.hidden, c.ffn_size},
  };
  const std::pair<Tensor*, int> by_logit_row[] = {{&a.last, c.hidden_size}, {&a.logits, c.vocab_size}};
  size_t bytes = 0;
  const auto shape = [&](Tensor* t, int rows, int cols) {
    *t = {nullptr, backend.activation_type(), rows, cols, cols};
    if (t == &a.x) t->dtype = backend.stream_type();
    if (t == &a.logits) {
      t->dtype = backend.logits_type();
      t->stride += backend.more_tokens();
    }
    bytes += PaddedBytes(*t);
  };
  for (const auto& [tensor, cols] : by_row) shape(tensor, limits.max_rows, cols);
  for (const auto& [tensor, cols] : by_logit_row) shape(tensor, limits.max_logit_rows, cols);

  ASSIGN_OR_RETURN(a.memory, backend.AllocateActivations(bytes));
  std::byte* next = static_cast<std::byte*>(a.memory->data());
  const auto place = [&](Tensor* t) { t->data = std::exchange(next, next + PaddedBytes(*t)); };
  for (const auto& [tensor, cols] : by_row) place(tensor);
  for (const auto& [tensor, cols] : by_logit_row) place(tensor);
  a.q = a.qkv.Cols(0, q_out);
  return a;
}

void Activations::Narrow(int rows, int logit_rows) {
  for (Tensor* t : {&x, &normed, &qkv, &q, &attended, &out, &gate_up, &hidden}) t->rows = rows;
  for (Tensor* t : {&last, &logits}) t->rows = logit_rows;
}

}  // namespace hydrad
