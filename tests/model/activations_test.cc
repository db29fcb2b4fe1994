#include "server/model/activations.h"

#include <gtest/gtest.h>

#include "server/backend/cpu/cpu_backend.h"

namespace hydrad {
namespace {

ModelConfig Config() {
  ModelConfig c;
  c.hidden_size = 12, c.num_heads = 3, c.num_kv_heads = 1, c.head_dim = 6, c.ffn_size = 20, c.vocab_size = 33;
  return c;
}

TEST(Activations, HaveTheShapesOfTheNetwork) {
  const auto backend = MakeCpuBackend({.threads = 1});
  auto a = Activations::Allocate(*backend, Config(), {.max_rows = 7, .max_logit_rows = 2});
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->x.cols, 12);
  EXPECT_EQ(a->qkv.cols, 18 + 6 + 6);
  EXPECT_EQ(a->q.cols, 18);
  EXPECT_EQ(a->q.stride, 30);
  EXPECT_EQ(a->q.data, a->qkv.data);
  EXPECT_EQ(a->gate_up.cols, 40);
  EXPECT_EQ(a->logits.rows, 2);
  EXPECT_EQ(a->logits.cols, 33);
}

TEST(Activations, DoNotOverlapAndFillTheirMemory) {
  const auto backend = MakeCpuBackend({.threads = 1});
  auto a = Activations::Allocate(*backend, Config(), {.max_rows = 7, .max_logit_rows = 2});
  ASSERT_TRUE(a.ok());
  const Tensor all[] = {a->x,       a->normed, a->qkv,  a->attended, a->out,
                        a->gate_up, a->hidden, a->last, a->logits};
  const std::byte* next = static_cast<std::byte*>(a->memory->data());
  for (const Tensor& t : all) {
    const std::byte* begin = static_cast<std::byte*>(t.data);
    EXPECT_GE(begin, next);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(begin) % 64, 0);
    next = begin + BytesOf(t.rows * t.stride, t.dtype);
  }
  EXPECT_LE(next, static_cast<std::byte*>(a->memory->data()) + a->memory->bytes());
}

TEST(Activations, NarrowToAStepAndWidenAgain) {
  const auto backend = MakeCpuBackend({.threads = 1});
  auto a = Activations::Allocate(*backend, Config(), {.max_rows = 7, .max_logit_rows = 2});
  a->Narrow(3, 1);
  EXPECT_EQ(a->x.rows, 3);
  EXPECT_EQ(a->q.rows, 3);
  EXPECT_EQ(a->logits.rows, 1);
  a->Narrow(7, 2);
  EXPECT_EQ(a->hidden.rows, 7);
  EXPECT_EQ(a->last.rows, 2);
}

}  // namespace
}  // namespace hydrad
