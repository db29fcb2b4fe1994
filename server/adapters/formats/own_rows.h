// Reads what an adapter has of its own in place of the base's: rows of the embedding and of lm_head, and
// biases.
#ifndef HYDRAD_SERVER_ADAPTERS_FORMATS_OWN_ROWS_H_
#define HYDRAD_SERVER_ADAPTERS_FORMATS_OWN_ROWS_H_

#include <absl/status/statusor.h>

#include <span>
#include <vector>

#include "server/adapters/formats/module_tensors.h"
#include "server/adapters/formats/token_fields.h"
#include "server/backend/adapter_weights.h"
#include "server/model/base_weights.h"

namespace hydrad {

// Of a matrix of embed_tokens or lm_head at most this part is copied, if no tokens are trained beside it.
inline constexpr int kCopiedPart = 4;

struct OwnRows {
  TokenRows embedding, head;
};

// Takes out of `modules` the tensors of modules_to_save and trainable_token_indices, and the base's matrices
// that PEFT saves beside a LoRA of embed_tokens or lm_head. As in PEFT:
// - a module that modules_to_save names has its own matrix; a tied lm_head does not follow the embedding's,
//   unless ensure_weight_tying says so;
// - trained tokens of the embedding hold for a tied lm_head too, unless it has others of its own;
// - a base matrix is the adapter's where it differs from `base`, for a tied lm_head and its embedding alike,
//   and is read over where it is the same;
// - a matrix may have other tokens than the base: more, up to the shape's more_tokens, or fewer, where the
//   base's is padded; and trained tokens may lie beyond the base's, or in such a matrix.
// Equal matrices of both ends of a tied base are one in the result. Of a matrix of which few
// rows are not the base's only those are there, if no LoRA is added to it. The result points into the
// file that `modules` view and into `storage`. INVALID_ARGUMENT names tensor or field.
absl::StatusOr<OwnRows> TakeOwnRows(const TokenFields& fields, const AdapterShape& shape,
                                    const BaseWeights* base, std::span<ModuleTensors> modules,
                                    TensorStorage& storage);

// Takes the trained bias out of `module`: [out] what it adds to the base's, or empty. INVALID_ARGUMENT where
// the base has no bias there.
absl::StatusOr<std::vector<float>> TakeOwnBias(const BaseWeights* base, ModuleTensors& module);

// `base`, or FAILED_PRECONDITION where there is none to reckon `what` against.
absl::StatusOr<const BaseWeights*> Needed(const BaseWeights* base, std::string_view what);

}  // namespace hydrad

#endif  // HYDRAD_SERVER_ADAPTERS_FORMATS_OWN_ROWS_H_
