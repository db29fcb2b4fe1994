#include "server/adapters/formats/own_rows.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

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

// The rows of `matrix` from `first` on.
HostMatrix RowsOf(const HostMatrix& matrix, int first, int count) {
  const size_t skipped = BytesOf(static_cast<size_t>(first) * matrix.cols, matrix.dtype);
  return {static_cast<const std::byte*>(matrix.data) + skipped, matrix.dtype, count, matrix.cols};
}

// The tokens whose rows in `matrix` are not the base's, ascending; those that the base lacks are among them.
absl::StatusOr<std::vector<int32_t>> ChangedRows(const BaseWeights& base, const std::string_view path,
                                                 const HostMatrix& matrix) {
  std::vector<int32_t> changed;
  int known = 0;
  RETURN_IF_ERROR(base.Visit(path, [&](int first, const HostMatrix& block) {
    for (int i = 0; i < block.rows && first + i < matrix.rows; ++i) {
      if (!SameRows(matrix, first + i, RowsOf(block, i, 1))) changed.push_back(first + i);
    }
    known = first + block.rows;
  }));
  for (int32_t token = known; token < matrix.rows; ++token) changed.push_back(token);
  return changed;
}

bool InOnePiece(const std::vector<int32_t>& ascending) {
  return ascending.back() - ascending.front() + 1 == static_cast<int32_t>(ascending.size());
}

// Whether these of so many rows are worth to be kept alone; a copy takes no more than HostBytesToRead says.
bool Few(const std::vector<int32_t>& ascending, int rows) {
  if (ascending.empty()) return true;
  return ascending.size() * (InOnePiece(ascending) ? 2 : kCopiedPart) <= static_cast<size_t>(rows);
}

// The rows of `matrix` that stand for `tokens`, which ascend: where they are, or in a copy.
HostMatrix Picked(const HostMatrix& matrix, const std::vector<int32_t>& tokens, TensorStorage& storage) {
  const auto count = static_cast<int>(tokens.size());
  if (InOnePiece(tokens)) return RowsOf(matrix, tokens.front(), count);
  const size_t row = BytesOf(static_cast<size_t>(matrix.cols), matrix.dtype);
  float* const copy = storage.Take((tokens.size() * row + sizeof(float) - 1) / sizeof(float));
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::memcpy(reinterpret_cast<std::byte*>(copy) + i * row, RowsOf(matrix, tokens[i], 1).data, row);
  }
  return {copy, matrix.dtype, count, matrix.cols};
}

// Puts the rows `by` of `tokens` into `own`, over those that stand there for the same tokens.
void PutOver(const std::vector<int32_t>& tokens, const HostMatrix& by, TensorStorage& storage,
             TokenRows* own) {
  std::map<int32_t, std::pair<const HostMatrix*, int>> rows;
  for (int i = 0; i < own->rows.rows; ++i) {
    rows[own->tokens.empty() ? i : own->tokens[static_cast<size_t>(i)]] = {&own->rows, i};
  }
  for (int i = 0; i < by.rows; ++i) rows[tokens[static_cast<size_t>(i)]] = {&by, i};
  float* next = storage.Take(rows.size() * static_cast<size_t>(by.cols));
  const HostMatrix all{next, DType::kF32, static_cast<int>(rows.size()), by.cols};
  own->tokens.clear();
  for (const auto& [token, row] : rows) {
    CopyRows(*row.first, row.second, 1, next);
    next += by.cols;
    own->tokens.push_back(token);
  }
  own->rows = all;
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

  // The matrix that modules_to_save tells of, if it does.
  // Beside one, what it stands for is the base's and counts for nothing (`any_saved`).
  absl::Status TakeSaved(bool saved, bool any_saved, TokenRows* rows) {
    if (has(kOriginalPart)) {
      if (!any_saved)
        return InvalidArgument("tensor '{}': weights of the base model are not supported",
                               module().TensorName(kOriginalPart));
      module_->parts.erase(kOriginalPart);
    }
    if (!saved) return absl::OkStatus();
    if (!has(kWeightPart)) return Missing(module(), kWeightPart);
    ASSIGN_OR_RETURN(rows->rows, TakeWhole(kWeightPart));
    return absl::OkStatus();
  }
  // The base's matrix, if it is there and differs from `base`.
  absl::StatusOr<std::optional<HostMatrix>> TakeBase(const BaseWeights* base) {
    for (const std::string_view part : {kBaseLayerPart, kWeightPart}) {
      if (!has(part)) continue;
      const std::string name = module().TensorName(part);
      ASSIGN_OR_RETURN(const HostMatrix matrix, TakeWhole(part));
      ASSIGN_OR_RETURN(base, Needed(base, name));
      if (matrix.rows != shape_.vocab) return matrix;
      ASSIGN_OR_RETURN(const auto changed, ChangedRows(*base, module().path, matrix));
      if (!changed.empty()) return matrix;
    }
    return std::nullopt;
  }
  // Whether the file has no LoRA of the module.
  bool plain() const {
    return std::ranges::all_of(module().parts, [](const auto& part) {
      return part.first == kTrainedTokensPart || part.first == kBiasPart;
    });
  }
  // Leaves of a matrix of all tokens the rows that are not the base's, where those are few, no LoRA is added
  // to the matrix (`plain`), and there is a base to compare with.
  absl::Status KeepChanged(const BaseWeights* base, bool plain, TokenRows* own) {
    if (own->rows.data == nullptr) return absl::OkStatus();
    if (own->rows.rows != shape_.vocab) own->vocab = own->rows.rows;
    if (base != nullptr && plain) {
      ASSIGN_OR_RETURN(std::vector<int32_t> changed, ChangedRows(*base, module().path, own->rows));
      if (changed.empty()) own->rows = {};
      if (!Few(changed, own->rows.rows)) {
        changed.clear();
      } else if (!changed.empty()) {
        own->rows = Picked(own->rows, changed, storage_);
        own->tokens = std::move(changed);
      }
    }
    if (own->rows.rows >= shape_.vocab || !own->tokens.empty()) return absl::OkStatus();
    own->tokens.resize(static_cast<size_t>(own->rows.rows));  // a matrix of fewer tokens than the base has
    std::iota(own->tokens.begin(), own->tokens.end(), 0);
    return absl::OkStatus();
  }
  // Passes over the rows of trained tokens that are those of the embedding, as the file may say again.
  absl::Status SkipTrained(const std::optional<HostMatrix>& of_embedding) {
    if (!has(kTrainedTokensPart)) return absl::OkStatus();
    const std::string name = module().TensorName(kTrainedTokensPart);
    const int rows = of_embedding ? of_embedding->rows : 0;
    ASSIGN_OR_RETURN(const HostMatrix again, Take(kTrainedTokensPart, rows));
    if (SameValues(again, *of_embedding)) return absl::OkStatus();
    return InvalidArgument("tensor '{}': differs from the embedding's, to which the base model ties lm_head",
                           name);
  }
  // The rows of trained tokens, as they stand in the file.
  const std::optional<HostMatrix>& trained() const { return trained_; }
  // The rows that trainable_token_indices tells of, if it does.
  absl::Status TakeTrained(const std::optional<std::vector<int32_t>>& tokens, TokenRows* rows) {
    if (!tokens) {
      if (!has(kTrainedTokensPart)) return absl::OkStatus();
      return InvalidArgument(
          "tensor '{}': trainable_token_indices of adapter_config.json tells no tokens for it",
          module().TensorName(kTrainedTokensPart));
    }
    if (!has(kTrainedTokensPart)) return Missing(module(), kTrainedTokensPart);
    const int most = shape_.vocab + shape_.more_tokens;
    const auto outside = std::ranges::find_if(*tokens, [&](int32_t token) { return token >= most; });
    if (outside != tokens->end()) {
      return InvalidArgument("tensor '{}': token {} of trainable_token_indices is outside of the {} tokens{}",
                             module().TensorName(kTrainedTokensPart), *outside, most,
                             shape_.more_tokens > 0 ? "" : ": this device takes none beyond the base's");
    }
    ASSIGN_OR_RETURN(trained_, Take(kTrainedTokensPart, static_cast<int>(tokens->size())));
    if (rows->rows.data != nullptr) {
      PutOver(*tokens, *trained_, storage_, rows);
    } else {
      rows->tokens = *tokens;
      rows->rows = *trained_;
    }
    return absl::OkStatus();
  }
  // Works out how many tokens there are here.
  absl::Status CountTokens(TokenRows* own) const {
    const int32_t last = own->tokens.empty() ? -1 : *std::ranges::max_element(own->tokens);
    if (last < shape_.vocab) return absl::OkStatus();
    std::vector<bool> there(static_cast<size_t>(last + 1 - shape_.vocab));
    for (const int32_t token : own->tokens) {
      if (token >= shape_.vocab) there[static_cast<size_t>(token - shape_.vocab)] = true;
    }
    const auto missing = std::ranges::find(there, false);
    if (missing != there.end()) {
      return InvalidArgument(
          "{}: token {} has no row, though token {} has one: the base model has {} tokens, and an adapter "
          "brings all of those behind them or none",
          module().path, missing - there.begin() + shape_.vocab, last, shape_.vocab);
    }
    own->vocab = last + 1;
    return absl::OkStatus();
  }

 private:
  // REQUIRES: has(part).
  absl::StatusOr<HostMatrix> Take(std::string_view part, int rows) {
    ASSIGN_OR_RETURN(const HostMatrix matrix, module_->Matrix(part, rows, shape_.hidden, storage_));
    module_->parts.erase(part);
    return matrix;
  }
  // A matrix of all tokens that the adapter has. REQUIRES: has(part).
  absl::StatusOr<HostMatrix> TakeWhole(std::string_view part) {
    const std::vector<int64_t>& extents = module_->parts.at(part).tensor->shape;
    const bool other = extents.size() == 2 && extents[1] == shape_.hidden && extents[0] != shape_.vocab;
    if (!other || extents[0] < 1) return Take(part, shape_.vocab);
    const std::string name = module().TensorName(part);
    if (shape_.more_tokens == 0) {
      return InvalidArgument(
          "tensor '{}': shape [{}, {}] is not [{}, {}]: this device takes no other tokens than the base's",
          name, extents[0], extents[1], shape_.vocab, shape_.hidden);
    }
    if (extents[0] - shape_.vocab > shape_.more_tokens) {
      return InvalidArgument("tensor '{}': has {} tokens: this device takes {} beyond the {} of the base",
                             name, extents[0], shape_.more_tokens, shape_.vocab);
    }
    return Take(part, static_cast<int>(extents[0]));
  }

  const AdapterShape& shape_;
  TensorStorage& storage_;
  ModuleTensors* module_ = nullptr;
  ModuleTensors none_;
  std::optional<HostMatrix> trained_;
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
  const bool any_saved = fields.saves_embedding || fields.saves_head;
  RETURN_IF_ERROR(embedding.TakeSaved(fields.saves_embedding, any_saved, &own.embedding));
  const bool follows = shape.tied && fields.ties && fields.saves_embedding && !head.has(kWeightPart);
  RETURN_IF_ERROR(head.TakeSaved(fields.saves_head && !follows, any_saved, &own.head));
  if (follows) own.head = own.embedding;

  ASSIGN_OR_RETURN(std::optional<HostMatrix> for_embedding, embedding.TakeBase(base));
  ASSIGN_OR_RETURN(std::optional<HostMatrix> for_head, head.TakeBase(base));
  if (shape.tied && !for_embedding) for_embedding = for_head;
  if (shape.tied && !for_head) for_head = for_embedding;
  if (for_embedding && own.embedding.rows.data == nullptr) own.embedding.rows = *for_embedding;
  if (for_head && own.head.rows.data == nullptr) own.head.rows = *for_head;
  if (shape.tied && SameValues(own.embedding.rows, own.head.rows)) own.head = own.embedding;
  const bool one = own.head.rows.data == own.embedding.rows.data;  // also where neither has any
  RETURN_IF_ERROR(embedding.KeepChanged(base, embedding.plain() && (!one || head.plain()), &own.embedding));
  if (one) {
    own.head = own.embedding;
  } else {
    RETURN_IF_ERROR(head.KeepChanged(base, head.plain(), &own.head));
  }

  const bool shared = shape.tied && fields.embedding_tokens &&
                      (!fields.head_tokens || fields.head_tokens == fields.embedding_tokens);
  RETURN_IF_ERROR(embedding.TakeTrained(fields.embedding_tokens, &own.embedding));
  RETURN_IF_ERROR(shared ? head.SkipTrained(embedding.trained())
                         : head.TakeTrained(fields.head_tokens, &own.head));
  if (shared && one) own.head = own.embedding;
  RETURN_IF_ERROR(embedding.CountTokens(&own.embedding));
  RETURN_IF_ERROR(head.CountTokens(&own.head));
  if (own.embedding.vocab < shape.vocab) own.embedding.vocab = 0;  // it reads the base's rows of the others
  const int reads = VocabOf(own.embedding, shape), draws = VocabOf(own.head, shape);
  if (draws > reads) {
    return InvalidArgument("lm_head has {} tokens, of which the embedding knows {}", draws, reads);
  }
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
