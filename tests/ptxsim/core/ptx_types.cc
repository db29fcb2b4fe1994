#include "core/ptx_types.h"

#include <utility>

namespace ptxsim {
namespace {

constexpr std::pair<std::string_view, Type> kNames[] = {
    {"pred", Type::kPred}, {"b8", Type::kB8},     {"u8", Type::kU8},       {"s8", Type::kS8},
    {"b16", Type::kB16},   {"u16", Type::kU16},   {"s16", Type::kS16},     {"b32", Type::kB32},
    {"u32", Type::kU32},   {"s32", Type::kS32},   {"b64", Type::kB64},     {"u64", Type::kU64},
    {"s64", Type::kS64},   {"b128", Type::kB128}, {"f16", Type::kF16},     {"bf16", Type::kBF16},
    {"f32", Type::kF32},   {"f64", Type::kF64},   {"f16x2", Type::kF16x2}, {"bf16x2", Type::kBF16x2},
    {"tf32", Type::kTF32},
};

}  // namespace

Type ParseType(std::string_view word) {
  for (const auto& [name, type] : kNames) {
    if (name == word) return type;
  }
  return Type::kNone;
}

const char* TypeName(Type type) {
  for (const auto& [name, candidate] : kNames) {
    if (candidate == type) return name.data();
  }
  return "none";
}

}  // namespace ptxsim
