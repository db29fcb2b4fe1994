#include "server/adapters/formats/own_rows.h"

#include <algorithm>
#include <optional>

#include "server/backend/host_rows.h"
#include "server/base/invalid_argument.h"
#include "server/base/status.h"
#include "server/base/status_macros.h"

namespace hydrad {
namespace {

absl::Status Missing(const ModuleTensors& module, std::string_view part) {
  return InvalidArgument("tensor '{}': is missing", module.TensorName(part));
}

// Compares two matrices of one shape.
bool SameValues(const HostMatrix& x, const HostMatrix& y) {
  if (x.data == nullptr || y.data == nullptr) return x.data == y.data;
  return SameRows(x, 0, y);
}

// Takes the parts out of embed_tokens or lm_head, of which the file may hold nothing.
class Taker {
 public:
  Taker(Projection projection, std::span<ModuleTensors> modules, const AdapterShape& shape,
        TensorStorage& storage)
      : shape_(shape), storage_(storage) {
    const auto found = std::ranges::find(modules, projection, &ModuleTensors::projection);
    if (found != modules.end()) module_ = &*found;
    none_.path = projection == Projection::kHead ? "lm_head" : "model.embed_tokens";
  }

  const ModuleTensors& module() const { return module_ != nullptr ? *module_ : none_; }
  bool has(std::string_view part) const { return module().parts.contains(part); }

  // REQUIRES: has(part).
  absl::StatusOr<HostMatrix> Take(std::string_view part, int rows) {
    ASSIGN_OR_RETURN(const HostMatrix matrix, module_->Matrix(part, rows, shape_.hidden, storage_));
    module_->parts.erase(part);
    return matrix;
  }
  // The matrix that modules_to_save tells of, if it does.
  absl::Status TakeSaved(bool saved, TokenRows* rows) {
    if (!saved) return absl::OkStatus();
    if (!has(kWeightPart)) return Missing(module(), kWeightPart);
    ASSIGN_OR_RETURN(rows->rows, Take(kWeightPart, shape_.vocab));
    return absl::OkStatus();
  }
  // The base's matrix, if it is there and differs from `base`.
  absl::StatusOr<std::optional<HostMatrix>> TakeBase(const BaseWeights* base) {
    for (const std::string_view part : {kBaseLayerPart, kWeightPart}) {
      if (!has(part)) continue;
      const std::string name = module().TensorName(part);
      ASSIGN_OR_RETURN(const HostMatrix matrix, Take(part, shape_.vocab));
      ASSIGN_OR_RETURN(base, Needed(base, name));
      bool same = true;
      RETURN_IF_ERROR(base->Visit(module().path, [&](int first, const HostMatrix& block) {
        same = same && SameRows(matrix, first, block);
      }));
      if (!same) return matrix;
    }
    return std::nullopt;
  }
  // The rows that trainable_token_indices tells of, if it does. `shared`: those of the embedding hold here.
  absl::Status TakeTrained(const std::optional<std::vector<int32_t>>& tokens, bool shared, TokenRows* rows) {
    if (!tokens || shared) {
      if (!has(kTrainedTokensPart)) return absl::OkStatus();
      return InvalidArgument(
          "tensor '{}': trainable_token_indices of adapter_config.json tells no tokens for it",
          module().TensorName(kTrainedTokensPart));
    }
    if (!has(kTrainedTokensPart)) return Missing(module(), kTrainedTokensPart);
    const auto outside = std::ranges::find_if(*tokens, [&](int32_t token) { return token >= shape_.vocab; });
    if (outside != tokens->end()) {
      return InvalidArgument("tensor '{}': token {} of trainable_token_indices is outside of the {} tokens",
                             module().TensorName(kTrainedTokensPart), *outside, shape_.vocab);
    }
    if (rows->rows.data != nullptr) {
      return InvalidArgument("tensor '{}': the adapter has all rows of the matrix besides",
                             module().TensorName(kTrainedTokensPart));
    }
    rows->tokens = *tokens;
    ASSIGN_OR_RETURN(rows->rows, Take(kTrainedTokensPart, static_cast<int>(tokens->size())));
    return absl::OkStatus();
  }

 private:
  const AdapterShape& shape_;
  TensorStorage& storage_;
  ModuleTensors* module_ = nullptr;
  ModuleTensors none_;
};

}  // namespace

absl::StatusOr<const BaseWeights*> Needed(const BaseWeights* base, std::string_view what) {
  if (base == nullptr) return FailedPrecondition("{}: there are no base weights to reckon with", what);
  return base;
}

absl::StatusOr<OwnRows> TakeOwnRows(const TokenFields& fields, const AdapterShape& shape,
                                    const BaseWeights* base, std::span<ModuleTensors> modules,
                                    TensorStorage& storage) {
  OwnRows own;
  Taker embedding(Projection::kEmbedding, modules, shape, storage);
  Taker head(Projection::kHead, modules, shape, storage);
  RETURN_IF_ERROR(embedding.TakeSaved(fields.saves_embedding, &own.embedding));
  const bool follows = shape.tied && fields.ties && fields.saves_embedding && !head.has(kWeightPart);
  RETURN_IF_ERROR(head.TakeSaved(fields.saves_head && !follows, &own.head));
  if (follows) own.head = own.embedding;

  ASSIGN_OR_RETURN(std::optional<HostMatrix> for_embedding, embedding.TakeBase(base));
  ASSIGN_OR_RETURN(std::optional<HostMatrix> for_head, head.TakeBase(base));
  if (shape.tied && !for_embedding) for_embedding = for_head;
  if (shape.tied && !for_head) for_head = for_embedding;
  if (for_embedding && own.embedding.rows.data == nullptr) own.embedding.rows = *for_embedding;
  if (for_head && own.head.rows.data == nullptr) own.head.rows = *for_head;
  if (shape.tied && SameValues(own.embedding.rows, own.head.rows)) own.head = own.embedding;

  const bool shared = shape.tied && fields.embedding_tokens &&
                      (!fields.head_tokens || fields.head_tokens == fields.embedding_tokens);
  RETURN_IF_ERROR(embedding.TakeTrained(fields.embedding_tokens, false, &own.embedding));
  RETURN_IF_ERROR(head.TakeTrained(fields.head_tokens, shared, &own.head));
  if (shared && own.head.rows.data == nullptr) own.head = own.embedding;
  return own;
}

absl::StatusOr<std::vector<float>> TakeOwnBias(const BaseWeights* base, ModuleTensors& module) {
  if (!module.parts.contains(kBiasPart)) return std::vector<float>();
  const std::string name = module.TensorName(kBiasPart);
  ASSIGN_OR_RETURN(std::vector<float> bias, module.Vector(kBiasPart, module.out));
  ASSIGN_OR_RETURN(base, Needed(base, name));
  ASSIGN_OR_RETURN(const std::vector<float> of_base, base->Bias(module.path));
  if (of_base.empty()) return InvalidArgument("tensor '{}': the base model has no bias there", name);
  for (size_t i = 0; i < bias.size(); ++i) bias[i] -= of_base[i];
  module.parts.erase(kBiasPart);
  return bias;
}

}  // namespace hydrad
